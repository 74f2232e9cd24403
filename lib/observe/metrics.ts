/**
 * diagnostics ─► tally ─► **metrics** ─► register ─► `metrics()` router ─► Prometheus. Owns the names, and what they mean.
 */

import type { BrokerState } from '../broker/broker.js'
import { InvalidOptionError } from '../core/errors.js'
import type { Sample } from './numbers.js'
import { Family, type MetricsRegister, ownRegister, registerAll } from './register.js'
import { type Sums, Tally } from './tally.js'

/** Options of `createMetrics`. */
export interface MetricsOptions {
  /**
   * Where the metrics go: prom-client's `register`, or a `Registry`. @defaultValue a new one, for which prom-client must be
   * installed
   */
  readonly register?: MetricsRegister
  /** Whose broker, channels and pressure are shown. @defaultValue none's; all else is counted for the whole process */
  readonly multiplexer?: ObservedMultiplexer
  /** Whose leases are shown. @defaultValue none's */
  readonly streamLimits?: {
    /** Leases that this process holds. */
    readonly size: number
  }
  /** Begins every name. @defaultValue 'sse_' */
  readonly prefix?: string
}

/** As much of a `Multiplexer` as is looked at. */
interface ObservedMultiplexer {
  status(): { readonly state: BrokerState; readonly channels: number }
  readonly pressure: { readonly level: string }
}

/** What `createMetrics` returns. */
export interface Metrics {
  /** What `metrics()` serves. */
  readonly register: MetricsRegister
  /** Takes the metrics out of the register and stops counting. Idempotent. */
  close(): void
}

const STATES: readonly BrokerState[] = ['connecting', 'ready', 'degraded', 'closed']
const LEVELS = ['none', 'pressed', 'sustained']

/**
 * Counts what happens in this process from now on, in all multiplexers and `res.sse()` routes: make it before streams open. Labels
 * have their values from closed tables; none holds a channel, user, tenant or address.
 * @throws InvalidOptionError also where the register has these metrics already, or prom-client is missing
 */
export function createMetrics(options: MetricsOptions = {}): Metrics {
  const { prefix = 'sse_' } = options
  if (!/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(prefix)) {
    throw new InvalidOptionError(`prefix must be a beginning of a metric's name, got ${String(prefix)}`)
  }
  const register = options.register ?? ownRegister()
  const tally = new Tally()
  const families = [...streamFamilies(tally), ...eventFamilies(tally), ...serviceFamilies(tally, options)].map(
    ([type, name, help, collect, aggregator]) => new Family(type, `${prefix}${name}`, help, collect, aggregator),
  )
  const names = families.map(({ name }) => name)
  try {
    registerAll(register, families)
  } catch (error) {
    tally.close()
    throw error
  }
  const close = (): void => {
    // Another may have come in its place.
    names.forEach((name, i) => {
      if (register.getSingleMetric(name) === families[i]) register.removeSingleMetric(name)
    })
    tally.close()
  }
  return { register, close }
}

type Row = ConstructorParameters<typeof Family>

/** @param read what it is now, over all streams */
function sum(type: 'counter' | 'gauge', name: string, help: string, tally: Tally, read: (sums: Sums) => number): Row {
  return [type, name, help, () => [{ value: read(tally.sums()) }]]
}

/** The most that any stream has. */
function most(...row: Parameters<typeof sum>): Row {
  const [type, name, help, collect] = sum(...row)
  return [type, name, help, collect, 'max']
}

function streamFamilies(tally: Tally): Row[] {
  return [
    sum('gauge', 'streams_open', 'Streams open', tally, ({ streams }) => streams),
    ['counter', 'streams_opened_total', 'Streams opened', () => tally.opened.samples()],
    [
      'counter',
      'streams_closed_total',
      'Streams ended, by reason; with head, limited and overloaded also such as never opened',
      () => tally.closed.samples(),
    ],
    [
      'counter',
      'streams_refused_total',
      'Streams on channels refused, by error code; other: the request was wrong',
      () => tally.refused.samples(),
    ],
    [
      'counter',
      'reconnects_total',
      'Streams opened with a cursor, by where it came from: Last-Event-ID or the URL',
      () => tally.reconnects.samples(),
    ],
    [
      'counter',
      'retry_directives_total',
      'retry: directives sent by the kit, at the beginning or before the end of a stream',
      () => tally.retries.samples(),
    ],
    ['histogram', 'stream_age_seconds', 'How long streams were open', (name) => tally.ages.samples(name)],
    sum('gauge', 'streams_full', 'Streams whose socket takes no more', tally, ({ full }) => full),
    sum('gauge', 'streams_lagging', 'Streams that are behind their channels', tally, ({ lagging }) => lagging),
    sum('gauge', 'lag_events', 'Events that streams are behind, all together', tally, ({ lag }) => lag),
    most('gauge', 'lag_events_max', 'Events that the slowest stream is behind', tally, ({ maxLag }) => maxLag),
    sum('gauge', 'queue_depth', "Events in streams' own queues", tally, ({ queued }) => queued),
    sum('gauge', 'queue_bytes', 'Bytes of these', tally, ({ queuedBytes }) => queuedBytes),
    most('gauge', 'queue_saturation_ratio', 'How full the fullest queue is', tally, ({ saturation }) => saturation),
    [
      'counter',
      'tokens_consumed_total',
      'Tokens that pacing gave to streams, by what they pay for',
      () => {
        const { pacedEvents, pacedBytes } = tally.sums()
        return [
          { labels: { cost: 'event' }, value: pacedEvents },
          { labels: { cost: 'byte' }, value: pacedBytes },
        ]
      },
    ],
    [
      'counter',
      'bucket_empty_total',
      'Times a stream had to wait for tokens, by the scope whose it waited for longest',
      () => tally.bucketsEmpty.samples(),
    ],
  ]
}

function eventFamilies(tally: Tally): Row[] {
  return [
    ['counter', 'events_published_total', 'Events published by this process', () => tally.published.samples()],
    [
      'counter',
      'publish_failures_total',
      'Events that were not published, or may not have been, by error code',
      () => tally.publishFailures.samples(),
    ],
    [
      'counter',
      'events_delivered_total',
      'Events written to clients, by streams or in answers to polls',
      () => [
        { labels: { via: 'stream' }, value: tally.sums().sent },
        { labels: { via: 'poll' }, value: tally.polled },
      ],
    ],
    ['counter', 'polls_total', 'Polls answered', () => tally.polls.samples()],
    [
      'histogram',
      'delivery_delay_seconds',
      'From publishing until an event was written; live: to those that had all before it, replay: to those that read on ' +
        'from the log. Not of events that waited in a queue',
      (name) => [...tally.live.samples(name, { path: 'live' }), ...tally.replayed.samples(name, { path: 'replay' })],
    ],
    ['counter', 'acknowledgements_total', 'Acknowledgements by clients', () => tally.acknowledged.samples()],
    [
      'histogram',
      'acknowledgement_delay_seconds',
      'From publishing until the client acknowledged the event, the latest of each acknowledgement',
      (name) => tally.acknowledgementDelays.samples(name),
    ],
    [
      'histogram',
      'client_buffer_ratio',
      'How full clients say their buffers are, in acknowledgements',
      (name) => tally.clientBuffers.samples(name),
    ],
    [
      'histogram',
      'client_latency_seconds',
      'How old clients say events are when they have handled them, in acknowledgements',
      (name) => tally.clientLatencies.samples(name),
    ],
    ['counter', 'events_dropped_total', 'Events that streams gave up, by reason', () => tally.drops.samples()],
    [
      'counter',
      'log_losses_total',
      'Times a log could not be read on from; trimmed: by a stream, log_replaced: by a process',
      () => tally.losses.samples(),
    ],
  ]
}

function serviceFamilies(tally: Tally, { multiplexer, streamLimits }: MetricsOptions): Row[] {
  const rows: Row[] = [
    [
      'counter',
      'limiter_decisions_total',
      'Requests that a limiter admitted or refused, by what decided',
      () => tally.decisions.samples(),
    ],
    [
      'counter',
      'redis_commands_total',
      'Calls of Redis by the broker, request limits (limit), stream limits (lease) and stores, by outcome: ok or an error code',
      () => tally.commands.samples(),
    ],
    [
      'histogram',
      'redis_command_seconds',
      'How long these took, waiting and second tries included',
      (name) => tally.commandTimes.samples(name),
    ],
    ['counter', 'history_reads_total', "Reads of logs' histories", () => tally.reads.samples()],
    [
      'counter',
      'errors_total',
      'Failures in the background, by what failed; the diagnostics channels say more',
      () => tally.errors.samples(),
    ],
  ]
  if (multiplexer !== undefined) {
    rows.push(
      [
        'gauge',
        'broker_state',
        '1 for the state of the broker; ready: subscriptions stand and commands are answered',
        () => oneOf('state', STATES, multiplexer.status().state),
      ],
      ['gauge', 'channels', 'Channels followed', () => [{ value: multiplexer.status().channels }]],
      [
        'gauge',
        'pressure_level',
        '1 for how pressed the process is',
        () => oneOf('level', LEVELS, multiplexer.pressure.level),
      ],
    )
  }
  if (streamLimits !== undefined) {
    rows.push(['gauge', 'stream_leases', 'Streams that have a lease', () => [{ value: streamLimits.size }]])
  }
  return rows
}

function oneOf(label: string, values: readonly string[], current: string): Sample[] {
  return values.map((value) => ({ labels: { [label]: value }, value: value === current ? 1 : 0 }))
}
