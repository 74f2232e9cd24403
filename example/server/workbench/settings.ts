/**
 * The settings of the workbench, their limits and defaults. Owns the validation. The page imports the types from here,
 * so this file must not import Node modules.
 */
import { PACING_PRESETS, type PacingPreset, type StreamOptions } from 'express-sse-kit'
import { Problem } from '../problem.js'

export type Backlog = NonNullable<StreamOptions['backlog']>

export interface ProducerSettings {
  readonly running: boolean
  /** The average. Events are published in bursts. */
  readonly eventsPerSecond: number
  readonly burst: number
  /** The size of an event's data. */
  readonly eventBytes: number
}

/** A token bucket, in events. */
export interface PacingSettings {
  readonly capacity: number
  readonly refillPerSecond: number
}

export interface ClientSettings {
  readonly name: string
  /** How fast the client reads its socket. 0: not at all; `null`: as fast as it can. */
  readonly readBytesPerSecond: number | null
  readonly backlog: Backlog
  readonly queueEvents: number
  readonly pacing: PacingSettings | null
  /** The maximum number of unacknowledged events. `null`: the client does not acknowledge. */
  readonly window: number | null
  /** Whether the server may move the client to polling. */
  readonly polls: boolean
}

export const LIMITS = Object.freeze({
  clients: 12,
  eventsPerSecond: 1000,
  burst: 500,
  eventBytes: 16_384,
  /** The rate of the producer, which the process sends to each client. */
  bytesPerSecond: 4_194_304,
  readBytesPerSecond: 100_000_000,
  queueEvents: 1000,
  pacing: 10_000,
  window: 1000,
})

export const DEFAULT_PRODUCER: ProducerSettings = Object.freeze({
  running: false,
  eventsPerSecond: 50,
  burst: 10,
  eventBytes: 256,
})

export const DEFAULT_CLIENT: ClientSettings = Object.freeze({
  name: 'Client',
  readBytesPerSecond: null,
  backlog: 'replay',
  queueEvents: 100,
  pacing: null,
  window: null,
  polls: true,
})

const BACKLOGS: { readonly [name in Backlog]: true } = {
  replay: true,
  'drop-oldest': true,
  'drop-newest': true,
  'drop-random': true,
  'drop-low-priority': true,
  coalesce: true,
  disconnect: true,
}

/** @throws Problem `ERR_WORKBENCH_INVALID` */
export function changeProducer(before: ProducerSettings, change: unknown): ProducerSettings {
  const settings = changed(before, change, {
    running: (name, value) => (typeof value === 'boolean' ? value : invalid(name, 'true or false')),
    eventsPerSecond: wholeTo(LIMITS.eventsPerSecond),
    burst: wholeTo(LIMITS.burst),
    eventBytes: wholeTo(LIMITS.eventBytes, 32),
  })
  if (settings.eventsPerSecond * settings.eventBytes > LIMITS.bytesPerSecond) {
    throw new Problem(
      'ERR_WORKBENCH_INVALID',
      `eventsPerSecond × eventBytes must be at most ${LIMITS.bytesPerSecond} bytes a second`,
    )
  }
  return settings
}

/** @throws Problem `ERR_WORKBENCH_INVALID` */
export function changeClient(before: ClientSettings, change: unknown): ClientSettings {
  const settings = changed(before, change, {
    name: (name, value) =>
      typeof value === 'string' && /^[^\p{C}]{1,40}$/u.test(value) ? value : invalid(name, '1 to 40 characters'),
    readBytesPerSecond: nullOr(wholeTo(LIMITS.readBytesPerSecond, 0)),
    backlog: (name, value) => {
      const known = typeof value === 'string' && Object.hasOwn(BACKLOGS, value)
      return known ? (value as Backlog) : invalid(name, `one of ${Object.keys(BACKLOGS).join(', ')}`)
    },
    queueEvents: wholeTo(LIMITS.queueEvents),
    pacing: nullOr(pacing),
    window: nullOr(wholeTo(LIMITS.window)),
    polls: (name, value) => (typeof value === 'boolean' ? value : invalid(name, 'true or false')),
  })
  if (settings.window !== null && settings.backlog !== 'replay') invalid('window', 'null unless backlog is replay')
  return settings
}

type Parse<T> = (name: string, value: unknown) => T

function changed<T extends object>(
  before: T,
  change: unknown,
  fields: { readonly [name in keyof T]: Parse<T[name]> },
): T {
  const after = { ...before }
  for (const [name, value] of Object.entries(objectOf(change))) {
    if (!Object.hasOwn(fields, name)) invalidName(name, Object.keys(fields))
    const field = name as keyof T
    after[field] = fields[field](name, value)
  }
  return after
}

/** The name of a preset, or a rate. */
function pacing(name: string, value: unknown): PacingSettings {
  if (typeof value === 'string' && Object.hasOwn(PACING_PRESETS, value)) return PACING_PRESETS[value as PacingPreset]
  const { capacity, refillPerSecond } = objectOf(value)
  return {
    capacity: wholeTo(LIMITS.pacing)(`${name}.capacity`, capacity),
    refillPerSecond: wholeTo(LIMITS.pacing)(`${name}.refillPerSecond`, refillPerSecond),
  }
}

function nullOr<T>(parse: Parse<T>): Parse<T | null> {
  return (name, value) => (value === null ? null : parse(name, value))
}

function wholeTo(max: number, min = 1): Parse<number> {
  return (name, value) => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    return invalid(name, `a whole number from ${min} to ${max}`)
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>
  throw new Problem('ERR_WORKBENCH_INVALID', 'The body must be an object with the settings to change')
}

function invalidName(name: string, known: readonly string[]): never {
  throw new Problem('ERR_WORKBENCH_INVALID', `${name} is not a setting. The settings are ${known.join(', ')}.`)
}

function invalid(name: string, wanted: string): never {
  throw new Problem('ERR_WORKBENCH_INVALID', `${name} must be ${wanted}`)
}
