/** Logs to stderr, one JSON object a line. Also logs the kit's diagnostics about connections and stores. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { diagnostics } from 'express-sse-kit'

type LogLevel = 'info' | 'warn' | 'error'
export type LogLine = (level: LogLevel, event: string, fields?: Readonly<Record<string, unknown>>) => void

export const logToStderr: LogLine = (level, event, fields = {}) => {
  const line = JSON.stringify({ at: new Date().toISOString(), level, event, ...fields }, (_, value: unknown) =>
    value instanceof Error ? describe(value) : value,
  )
  process.stderr.write(`${line}\n`)
}

function describe(error: Error): object {
  const { name, message, cause } = error
  const code = (error as { readonly code?: unknown }).code
  // Errors with a code are expected. Only for others is the stack useful.
  const stack = code === undefined ? { stack: error.stack } : { code }
  return { name, message, ...stack, ...(cause instanceof Error && { cause: cause.message }) }
}

const WINDOW_MS = 10_000
const LINES_PER_WINDOW = 5

const LOGGED = [
  { channel: diagnostics.brokerState, event: 'broker.state', level: 'warn' },
  { channel: diagnostics.brokerError, event: 'broker.error', level: 'error' },
  { channel: diagnostics.channelLoss, event: 'channel.loss', level: 'warn' },
  { channel: diagnostics.storeError, event: 'store.error', level: 'error' },
] as const

/** Logs the kit's diagnostics, with a limit for each kind. @returns stops logging */
export function logDiagnostics(log: LogLine): () => void {
  const stops = LOGGED.map(({ channel, event, level }) => {
    const limited = limit((fields) => log(level, event, fields))
    const listener = (message: unknown): void => limited(message as Readonly<Record<string, unknown>>)
    subscribe(channel, listener)
    return () => unsubscribe(channel, listener)
  })
  return () => {
    for (const stop of stops) stop()
  }
}

type Write = (fields: Readonly<Record<string, unknown>>) => void

/** Limits lines: while Redis is unavailable every publish fails. The next line has the number of suppressed ones. */
function limit(write: Write): Write {
  let windowStart = 0
  let written = 0
  let suppressed = 0
  return (fields) => {
    const now = Date.now()
    if (now - windowStart >= WINDOW_MS) {
      windowStart = now
      written = 0
    }
    if (written >= LINES_PER_WINDOW) {
      suppressed++
      return
    }
    written++
    write(suppressed > 0 ? { ...fields, suppressed } : fields)
    suppressed = 0
  }
}
