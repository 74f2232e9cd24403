/** The few lines about Redis that a process prints by itself: once for each cause, for applications that listen to no diagnostics. */

/** `process.emitWarning` gets one as `code`: the first connection to a Redis cannot be made; Redis refuses a command. */
export type RedisWarning = 'SSE_REDIS_UNREACHABLE' | 'SSE_REDIS_REFUSED'

const warned = new Set<string>()
/** What Redis answers may name what a client sent. */
const MAX_WARNED = 50

export function warnOnce(code: RedisWarning, message: string): void {
  if (warned.has(message) || warned.size >= MAX_WARNED) return
  warned.add(message)
  process.emitWarning(`express-sse-kit: ${message}`, { type: 'ExpressSseKitWarning', code })
}
