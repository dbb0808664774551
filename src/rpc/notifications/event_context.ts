/** What of a request's context goes along with an event: whoever listens is not the one who was asked. @module */
import type { ContextValues } from "../../contract/request_context.ts";
import { isSecret } from "../../redaction.ts";

/** What oslo.messaging lets pass (`notify/notifier.py`, `_sanitize_context`). */
const OPENSTACK: ReadonlySet<string> = new Set([
  ...["user_id", "project_id", "domain_id", "user_domain_id"],
  ...["project_domain_id", "is_admin", "request_id", "roles", "user_name"],
  ...["project_name", "domain_name", "user_domain_name"],
  ...["project_domain_name", "service_user_id", "service_user_domain_id"],
  ...["service_user_domain_name", "service_project_id"],
  ...["service_project_name", "service_project_domain_id"],
  ...["service_project_domain_name", "service_roles", "global_request_id"],
  ...["system_scope", "user", "domain", "user_domain", "project_domain"],
]);

/** On an OpenStack bus what its listeners know; elsewhere all but secrets. */
export function eventContext(
  values: ContextValues,
  openstack: boolean,
): ContextValues {
  const passes = (key: string) =>
    openstack ? OPENSTACK.has(key) : !isSecret(key);
  return Object.fromEntries(
    Object.entries(values).filter(([key]) => passes(key)),
  );
}
