/**
 * ioredis error ─► **errors** ─► the kit's error. Owns what an error of ioredis means for the outcome of a command, and
 * how failures are reported and printed. Whether a command was written, only run.ts knows.
 */
import { diagnostics, reportTo } from '../core/diagnostics.js'
import { BrokerError, SseError } from '../core/errors.js'

/** Redis replied with an error: the command had no effect. */
export function isRefusal(error: unknown): boolean {
  return error instanceof Error && error.name === 'ReplyError'
}

/** The refusal is temporary: the server is a replica or not ready, or the attempt arrived too late (attempts.ts). */
export function isTemporaryRefusal(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^(?:-?READONLY|LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|LATE)|READONLY/.test(error.message)
  )
}

/** A fault of the program, not of the connection: the same command would fail again. */
export function isProgramError(error: unknown): boolean {
  return error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError
}

/** The message of an error. If a host name has several addresses, ioredis's error has no message of its own. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.message !== '') return error.message
  const [first] = (error as { errors?: readonly Error[] }).errors ?? []
  return first?.message ?? (error as { code?: string }).code ?? error.name
}

/** The outcome is unknown: the command was written, and Redis did not reply. */
export function unknownOutcome(what: string, cause: unknown): BrokerError {
  return new BrokerError('ERR_SSE_BROKER_TIMEOUT', `${what}; the command may have run`, cause)
}

/**
 * Redis replied with an error. Prints a warning once, because the cause is usually the configuration (`NOPERM`) or the
 * data (`WRONGTYPE`), and limits may continue without Redis unnoticed.
 */
function refused(cause: unknown): BrokerError {
  const error = new BrokerError('ERR_SSE_BROKER_REFUSED', `Redis refused the command: ${reasonOf(cause)}`, cause)
  warnOnce('SSE_REDIS_REFUSED', error.message)
  return error
}

/** The command could not be sent, whatever the connection: it has no effect. */
function unsendable(cause: unknown): BrokerError {
  const text = `An error in the program, the command was not sent: ${reasonOf(cause)}`
  return new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', text, cause)
}

/** The error for a command that had no effect. */
export function notDone(cause: unknown): BrokerError {
  if (isRefusal(cause)) return refused(cause)
  return isProgramError(cause) ? unsendable(cause) : unavailable(undefined, cause)
}

/**
 * There was no connection, so the command was not written.
 * @param timeoutMs how long the command waited for the connection; `undefined`: it did not wait
 */
export function unavailable(timeoutMs: number | undefined, cause: unknown): BrokerError {
  const within = timeoutMs === undefined ? '' : ` within ${Math.round(timeoutMs)} ms`
  const reason = cause === undefined ? '' : `: ${reasonOf(cause)}`
  return new BrokerError('ERR_SSE_BROKER_UNAVAILABLE', `Redis is not reachable${within}${reason}`, cause)
}

/** Converts an error of ioredis if nothing recorded whether the command was written; otherwise see run.ts. */
export function toBrokerError(error: unknown): SseError {
  if (error instanceof SseError) return error
  if (reasonOf(error) === 'Command timed out') return unknownOutcome('Redis did not reply in time', error)
  return notDone(error)
}

/** Reports a background operation that failed to diagnostics. The kit retries the operation. */
export function reportBrokerError(operation: string, cause: unknown): void {
  // Conversion may print a warning, so only for subscribers.
  if (diagnostics.brokerError.hasSubscribers) reportTo(diagnostics.brokerError, operation, toBrokerError(cause))
}

/** The `code` of a printed warning: the first connection to a Redis failed; Redis refused a command. */
type RedisWarning = 'SSE_REDIS_UNREACHABLE' | 'SSE_REDIS_REFUSED'

const warned = new Set<string>()
/** The maximum number of warnings of a process. Messages of Redis may contain input of clients. */
const MAX_WARNINGS = 50

/** Prints a warning (`process.emitWarning`) once per message, for applications without subscribers to diagnostics. */
export function warnOnce(code: RedisWarning, message: string): void {
  if (warned.has(message) || warned.size >= MAX_WARNINGS) return
  warned.add(message)
  process.emitWarning(`express-sse-kit: ${message}`, { type: 'ExpressSseKitWarning', code })
}
