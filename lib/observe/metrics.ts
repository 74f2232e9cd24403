/**
 * diagnostics ─► tally ─► **metrics** ─► register ─► `metrics()` router ─► Prometheus. Owns the names and help texts.
 */

import type { BrokerState } from '../broker/broker.js'
import { InvalidOptionError } from '../core/errors.js'
import type { Sample } from './numbers.js'
import { Family, type MetricsRegister, ownRegister, registerAll } from './register.js'
import { type Sums, Tally } from './tally.js'

/** Options of `createMetrics`. */
export interface MetricsOptions {
  /**
   * The register that gets the metrics: prom-client's `register`, or a `Registry`. @defaultValue a new `Registry`;
   * prom-client must be installed
   */
  readonly register?: MetricsRegister
  /**
   * The multiplexer whose broker state, channels and pressure are exported. All other metrics cover the process.
   * @defaultValue none: these metrics are absent
   */
  readonly multiplexer?: {
    /** Returns the current status. */
    status(): {
      /** The state of the broker's connection. */
      readonly state: BrokerState
      /** The number of channels that this process follows. */
      readonly channels: number
    }
    /** The pressure of the process. */
    readonly pressure: {
      /** One of `none`, `pressed` and `sustained`. */
      readonly level: string
    }
  }
  /** The stream limits whose leases are exported. @defaultValue none: the metric is absent */
  readonly streamLimits?: {
    /** The number of leases that this process holds. */
    readonly size: number
  }
  /** The prefix of all metric names. @defaultValue 'sse_' */
  readonly prefix?: string
}

/** What `createMetrics` returns. */
export interface Metrics {
  /** The register that `metrics()` serves. */
  readonly register: MetricsRegister
  /** Removes the metrics from the register and stops counting. Idempotent. */
  close(): void
}

const STATES: readonly BrokerState[] = ['connecting', 'ready', 'degraded', 'closed']
const LEVELS = ['none', 'pressed', 'sustained']

/**
 * Creates the metrics of this process: all multiplexers and `res.sse()` routes. It counts from this call on, so call it
 * before streams open. Labels only have values from fixed tables; none contains a channel, user, tenant or address.
 * @throws InvalidOptionError also if the register already has these metrics, or prom-client is not installed
 */
export function createMetrics(options: MetricsOptions = {}): Metrics {
  const { prefix = 'sse_' } = options
  if (!/^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(prefix)) {
    throw new InvalidOptionError(
      `prefix must be a valid start of a metric name ([a-zA-Z_:][a-zA-Z0-9_:]*), got ${String(prefix)}`,
    )
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
    // The name may belong to a later metric of the application.
    names.forEach((name, i) => {
      if (register.getSingleMetric(name) === families[i]) register.removeSingleMetric(name)
    })
    tally.close()
  }
  return { register, close }
}

type Row = ConstructorParameters<typeof Family>

/** A metric that is summed over all streams. @param read returns its current value */
function sum(type: 'counter' | 'gauge', name: string, help: string, tally: Tally, read: (sums: Sums) => number): Row {
  return [type, name, help, () => [{ value: read(tally.sums()) }]]
}

/** Like `sum`, for the maximum over all streams. */
function maximum(...row: Parameters<typeof sum>): Row {
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
      'Streams ended, by reason; head, limited and overloaded include streams that never opened',
      () => tally.closed.samples(),
    ],
    [
      'counter',
      'streams_refused_total',
      'Streams on channels refused, by error code; other: the request was invalid',
      () => tally.refused.samples(),
    ],
    [
      'counter',
      'reconnects_total',
      'Streams opened with a cursor, by its origin: the Last-Event-ID header or the query',
      () => tally.reconnects.samples(),
    ],
    [
      'counter',
      'retry_directives_total',
      'retry: directives sent by the kit, when a stream opens or before it closes',
      () => tally.retries.samples(),
    ],
    ['histogram', 'stream_age_seconds', 'Age of streams when they closed', (name) => tally.ages.samples(name)],
    sum('gauge', 'streams_full', 'Streams whose socket buffer is full', tally, ({ full }) => full),
    sum('gauge', 'streams_lagging', 'Streams that lag behind their channels', tally, ({ lagging }) => lagging),
    sum('gauge', 'lag_events', 'Events that streams lag behind, summed over all streams', tally, ({ lag }) => lag),
    maximum('gauge', 'lag_events_max', 'Events that the slowest stream lags behind', tally, ({ maxLag }) => maxLag),
    sum('gauge', 'queue_depth', 'Events in the queues of streams', tally, ({ queued }) => queued),
    sum('gauge', 'queue_bytes', 'Bytes of events in the queues of streams', tally, ({ queuedBytes }) => queuedBytes),
    maximum(
      'gauge',
      'queue_saturation_ratio',
      'Fill ratio of the fullest queue',
      tally,
      ({ saturation }) => saturation,
    ),
    [
      'counter',
      'tokens_consumed_total',
      'Tokens that pacing granted to streams, by cost: events or bytes',
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
      'Times a stream had to wait for tokens, by the scope with the longest wait',
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
      'Events that were not published or whose outcome is unknown, by error code',
      () => tally.publishFailures.samples(),
    ],
    [
      'counter',
      'events_delivered_total',
      'Events written to clients, by streams or in poll responses',
      () => [
        { labels: { via: 'stream' }, value: tally.sums().sent },
        { labels: { via: 'poll' }, value: tally.polled },
      ],
    ],
    ['counter', 'polls_total', 'Polls answered', () => tally.polls.samples()],
    [
      'histogram',
      'delivery_delay_seconds',
      'Time from publishing to writing an event; live: to streams at the head, replay: to streams that read the log. ' +
        'Without events that waited in a queue',
      (name) => [...tally.live.samples(name, { path: 'live' }), ...tally.replayed.samples(name, { path: 'replay' })],
    ],
    ['counter', 'acknowledgements_total', 'Acknowledgements by clients', () => tally.acknowledged.samples()],
    [
      'histogram',
      'acknowledgement_delay_seconds',
      'Time from publishing to the acknowledgement of the last event in each acknowledgement',
      (name) => tally.acknowledgementDelays.samples(name),
    ],
    [
      'histogram',
      'client_buffer_ratio',
      'Fill ratio of client buffers, as reported in acknowledgements',
      (name) => tally.clientBuffers.samples(name),
    ],
    [
      'histogram',
      'client_latency_seconds',
      'Age of events when clients have handled them, as reported in acknowledgements',
      (name) => tally.clientLatencies.samples(name),
    ],
    ['counter', 'events_dropped_total', 'Events that streams dropped, by reason', () => tally.drops.samples()],
    [
      'counter',
      'log_losses_total',
      'Times a position was not in the log; trimmed: of one stream, log_replaced: of all streams of a channel',
      () => tally.losses.samples(),
    ],
  ]
}

function serviceFamilies(tally: Tally, { multiplexer, streamLimits }: MetricsOptions): Row[] {
  const rows: Row[] = [
    [
      'counter',
      'limiter_decisions_total',
      'Requests that a limiter admitted or refused, by the source of the decision',
      () => tally.decisions.samples(),
    ],
    [
      'counter',
      'redis_commands_total',
      'Redis commands of the broker, request limits (limit), stream limits (lease) and stores (store), by outcome: ' +
        'ok or an error code',
      () => tally.commands.samples(),
    ],
    [
      'histogram',
      'redis_command_seconds',
      'Duration of Redis commands, including waits and retries',
      (name) => tally.commandTimes.samples(name),
    ],
    ['counter', 'history_reads_total', 'Reads of log histories', () => tally.reads.samples()],
    [
      'counter',
      'errors_total',
      'Background failures, by source; see the diagnostics channels for details',
      () => tally.errors.samples(),
    ],
  ]
  if (multiplexer !== undefined) {
    rows.push(
      [
        'gauge',
        'broker_state',
        '1 for the current state of the broker; ready: subscriptions are active and commands get replies',
        () => stateSamples('state', STATES, multiplexer.status().state),
      ],
      ['gauge', 'channels', 'Channels with a subscription', () => [{ value: multiplexer.status().channels }]],
      [
        'gauge',
        'pressure_level',
        '1 for the current pressure level of the process',
        () => stateSamples('level', LEVELS, multiplexer.pressure.level),
      ],
    )
  }
  if (streamLimits !== undefined) {
    rows.push(['gauge', 'stream_leases', 'Streams with a lease', () => [{ value: streamLimits.size }]])
  }
  return rows
}

/** One sample for each value: 1 for the current value, 0 for the others. */
function stateSamples(label: string, values: readonly string[], current: string): Sample[] {
  return values.map((value) => ({ labels: { [label]: value }, value: value === current ? 1 : 0 }))
}
