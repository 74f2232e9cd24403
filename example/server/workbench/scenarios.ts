/** Set-ups that each show one thing within seconds. */
import { type ClientSettings, DEFAULT_CLIENT, DEFAULT_PRODUCER, type ProducerSettings } from './settings.js'

export interface Scenario {
  readonly id: string
  readonly title: string
  /** What there is to see. */
  readonly text: string
  readonly producer: ProducerSettings
  readonly clients: readonly ClientSettings[]
}

const PACE = { capacity: 10, refillPerSecond: 10 }
/** Large enough to fill the kernel's buffers in a few seconds: before that nobody can know that a client does not read. */
const LARGE = { eventsPerSecond: 100, burst: 10, eventBytes: 16_384 }

export const SCENARIOS: readonly Scenario[] = [
  {
    id: 'stalled',
    title: 'Stalled readers',
    text: 'Three clients stop reading. Replay holds no queue, only its position: it lags. Drop-oldest keeps 50 and drops the rest. With an ack window the server stops after 20. After 15 s the first two are ended; let them read on, and they poll, then return.',
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
    text: '40 events a second for streams that may send 10. Replay misses nothing and grows old; the others stay near the present and choose what to give up: coalesce keeps the latest of 8 keys, drop-low-priority loses nothing urgent.',
    producer: producer({ eventsPerSecond: 40, burst: 20, eventBytes: 256 }),
    clients: (['replay', 'drop-oldest', 'drop-newest', 'drop-random', 'drop-low-priority', 'coalesce'] as const).map(
      (backlog) => client(backlog, { backlog, pacing: PACE, queueEvents: 40, polls: false }),
    ),
  },
  {
    id: 'pacing',
    title: 'Bursts, paced',
    text: '60 events at once, every six seconds. Each bucket grants its burst, then its pace: lag jumps up and melts away, tokens sawtooth. Chat is too slow for this and falls ever further behind.',
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
    text: 'Four large queues pass the process’s bound of 2 MiB. The largest are shed; when that goes on, streams are moved to polling one by one, until it fits. They come back when the pressure is gone, and it begins anew.',
    producer: producer({ eventsPerSecond: 200, burst: 20, eventBytes: 4096 }),
    clients: [
      ...[1, 2, 3, 4].map((n) =>
        // The burst lets them catch up with what came while they went from their last poll to the stream.
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
