/** Predefined set-ups. Each shows one behaviour within seconds. */
import { type ClientSettings, DEFAULT_CLIENT, DEFAULT_PRODUCER, type ProducerSettings } from './settings.js'

export interface Scenario {
  readonly id: string
  readonly title: string
  /** What the scenario shows. */
  readonly text: string
  readonly producer: ProducerSettings
  readonly clients: readonly ClientSettings[]
}

const PACE = { capacity: 10, refillPerSecond: 10 }
/** Large enough to fill the kernel's buffers in a few seconds. Before that a stalled client is not detectable. */
const LARGE = { eventsPerSecond: 100, burst: 10, eventBytes: 16_384 }

export const SCENARIOS: readonly Scenario[] = [
  {
    id: 'stalled',
    title: 'Stalled readers',
    text:
      'Three clients stop reading. Replay has no queue, only a position: it lags. Drop-oldest keeps 50 events and ' +
      'drops the others. With an ack window the server stops after 20. After 15 s the first two streams end. Let ' +
      'the clients read again: they poll, then return to the stream.',
    producer: producer(LARGE),
    clients: [
      client('Healthy'),
      client('Stalled, replay', { readBytesPerSecond: 0 }),
      client('Stalled, drop-oldest', { readBytesPerSecond: 0, backlog: 'drop-oldest', queueEvents: 50 }),
      client('Stalled, acknowledges', { readBytesPerSecond: 0, window: 20 }),
    ],
  },
  {
    id: 'policies',
    title: 'Six policies, one pace',
    text:
      '40 events a second for streams that may send 10. Replay misses nothing, but its delay grows. The other ' +
      'policies stay up to date and drop events: coalesce keeps the latest of 8 keys, ' +
      'drop-low-priority keeps urgent events.',
    producer: producer({ eventsPerSecond: 40, burst: 20, eventBytes: 256 }),
    clients: (['replay', 'drop-oldest', 'drop-newest', 'drop-random', 'drop-low-priority', 'coalesce'] as const).map(
      (backlog) => client(backlog, { backlog, pacing: PACE, queueEvents: 40, polls: false }),
    ),
  },
  {
    id: 'pacing',
    title: 'Bursts, paced',
    text:
      '60 events at once, every six seconds. Each bucket grants its capacity, then its rate: lag rises and falls, ' +
      'and tokens form a sawtooth. Chat is too slow for this rate, so its lag grows.',
    producer: producer({ eventsPerSecond: 10, burst: 60, eventBytes: 256 }),
    clients: [
      client('No pacing'),
      client('Telemetry', { pacing: { capacity: 50, refillPerSecond: 25 } }),
      client('Dashboard', { pacing: { capacity: 5, refillPerSecond: 10 } }),
      client('Chat', { pacing: { capacity: 3, refillPerSecond: 2 } }),
    ],
  },
  {
    id: 'pressure',
    title: 'Pressure and polling',
    text:
      'Four large queues exceed the 2 MiB limit of the process. The largest queues are shed. If the pressure lasts, ' +
      'streams are moved to polling one by one. They return when the pressure has ended, and the cycle repeats.',
    producer: producer({ eventsPerSecond: 200, burst: 20, eventBytes: 4096 }),
    clients: [
      ...[1, 2, 3, 4].map((n) =>
        // The capacity lets them catch up with events between their last poll and the stream.
        client(`Large queue ${n}`, { backlog: 'drop-oldest', queueEvents: 200, pacing: { ...PACE, capacity: 50 } }),
      ),
      client('Replay beside them'),
    ],
  },
]

function producer(settings: Omit<ProducerSettings, 'running'>): ProducerSettings {
  return { ...DEFAULT_PRODUCER, ...settings, running: true }
}

function client(name: string, settings: Partial<ClientSettings> = {}): ClientSettings {
  return { ...DEFAULT_CLIENT, name, ...settings }
}
