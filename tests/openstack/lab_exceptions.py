"""What both ends of the tests know by name."""


class InstanceNotFound(Exception):
    """Made of its message and its keyword arguments, as OpenStack's own are."""

    def __init__(self, message=None, **kwargs):
        self.kwargs = kwargs
        super(InstanceNotFound, self).__init__(message)
