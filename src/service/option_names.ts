/** Names of the options of a service. @module */
import { checkNames, namesOf } from "../option_names.ts";
import type { ConnectionOptions } from "../connection/connection_options.ts";
import {
  checkTlsNames,
  connectionNames,
  type IGNORED_NAMES,
} from "../connection/option_names.ts";
import { checkServiceValues, type ServiceOptions } from "./service_options.ts";

const serviceNames = namesOf<
  Omit<ServiceOptions, keyof ConnectionOptions | (typeof IGNORED_NAMES)[number]>
>({
  manager: true,
  interceptors: true,
  taskInterceptors: true,
  baseApi: true,
  companions: true,
  store: true,
  hostExpiry: true,
  version: true,
}, connectionNames);

/**
 * Checks the names and the values of the options of a service.
 *
 * @throws {InvalidValueError} an option is unknown or has an invalid value; the message names it.
 */
export function checkServiceOptions(options: ServiceOptions): void {
  checkNames(options, serviceNames);
  checkServiceValues(options);
  checkTlsNames(options);
}
