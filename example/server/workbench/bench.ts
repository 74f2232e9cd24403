/**
 * The running part of the workbench: a separate embedded multiplexer with small limits, which are easy to reach, the
 * producer, and the clients. The streams of the inbox are not affected. Owns all of these, and closes them together.
 */

import type { RequestHandler } from 'express'
import {
  channel,
  createMultiplexer,
  createPacing,
  createPressure,
  diagnosticsChannels,
  type Multiplexer,
  type Pacing,
  type Pressure,
  type StreamOptions,
} from 'express-sse-kit'
import { Problem } from '../problem.js'
import { SimulatedClient } from './client.js'
import { Producer } from './producer.js'
import { type ClientSettings, changeClient, DEFAULT_CLIENT, LIMITS } from './settings.js'
import type { ClientSample } from './state.js'

export const TENANT = 'workbench'
const CHANNEL = channel(TENANT, 'feed')

/** Times are in ms, and shorter than the kit's defaults, so that their effect is visible soon. */
export interface BenchOptions {
  readonly maxBacklogBytes: number
  readonly stallMs: number
  readonly saturatedMs: number
  readonly sustainMs: number
  readonly pauseMs: number
  readonly pollMs: number
}

export const DEFAULT_BENCH: BenchOptions = {
  maxBacklogBytes: 2_097_152,
  stallMs: 15_000,
  saturatedMs: 15_000,
  sustainMs: 3000,
  pauseMs: 5000,
  pollMs: 1000,
}

interface Place {
  readonly client: SimulatedClient
  pacing: Pacing | undefined
  stream: RequestHandler
  readonly dropped: Record<string, number>
}

export class Bench {
  readonly producer: Producer
  readonly pressure: Pressure
  readonly poll: RequestHandler
  readonly ack: RequestHandler
  readonly #run: number
  readonly #options: BenchOptions
  readonly #multiplexer: Multiplexer
  readonly #places = new Map<string, Place>()
  #lastNumber = 0

  /** @param run part of the clients' ids, so that a page can distinguish them from clients of earlier runs */
  constructor(run: number, options: BenchOptions) {
    this.#run = run
    this.#options = options
    const { maxBacklogBytes, sustainMs, pauseMs, pollMs } = options
    this.pressure = createPressure({ maxBacklogBytes, sustainMs, pauseMs })
    this.#multiplexer = createMultiplexer({ stream: { pressure: this.pressure } })
    this.poll = this.#multiplexer.poll(() => CHANNEL, { pollMs })
    this.ack = this.#multiplexer.ack()
    this.producer = new Producer(this.#multiplexer, CHANNEL)
    diagnosticsChannels.streamDrop.subscribe(this.#onDrop)
  }

  get clients(): readonly SimulatedClient[] {
    return [...this.#places.values()].map(({ client }) => client)
  }

  get streams(): number {
    return this.#multiplexer.status().streams
  }

  /**
   * @param base the URL of the workbench's endpoints on this server
   * @throws Problem `ERR_WORKBENCH_INVALID`, `ERR_WORKBENCH_FULL`
   */
  add(base: URL, settings: unknown): SimulatedClient {
    const number = this.#lastNumber + 1
    const checked = changeClient({ ...DEFAULT_CLIENT, name: `Client ${number}` }, settings)
    if (this.#places.size >= LIMITS.clients) {
      throw new Problem(
        'ERR_WORKBENCH_FULL',
        `The workbench has ${LIMITS.clients} clients, the maximum. Remove one first.`,
      )
    }
    this.#lastNumber = number
    const id = `${this.#run}-${number}`
    const pacing = pacingOf(checked)
    const client = new SimulatedClient(id, base, checked)
    this.#places.set(id, { client, pacing, stream: this.#streamWith(checked, pacing), dropped: {} })
    return client
  }

  /**
   * Changes one client. Its speed and rates change immediately. For other settings the stream is reopened at its
   * position.
   * @throws Problem `ERR_WORKBENCH_INVALID`, `ERR_WORKBENCH_CLIENT_NOT_FOUND`
   */
  change(id: string, change: unknown): SimulatedClient {
    const place = this.#place(id)
    const { client } = place
    const before = client.settings
    const after = changeClient(before, change)
    client.settings = after
    if (place.pacing !== undefined && after.pacing !== null) place.pacing.configure({ stream: after.pacing })
    else place.pacing = pacingOf(after)
    place.stream = this.#streamWith(after, place.pacing)
    const fixed = ({ backlog, queueEvents, window, polls, pacing }: ClientSettings) =>
      JSON.stringify([backlog, queueEvents, window, polls, pacing !== null])
    if (fixed(before) !== fixed(after)) client.reopen()
    return client
  }

  /** @throws Problem `ERR_WORKBENCH_CLIENT_NOT_FOUND` */
  async remove(id: string): Promise<void> {
    const { client } = this.#place(id)
    this.#places.delete(id)
    await client.close()
  }

  /** @throws Problem `ERR_WORKBENCH_CLIENT_NOT_FOUND` */
  stream(id: string): RequestHandler {
    return this.#place(id).stream
  }

  sample(): readonly ClientSample[] {
    // In the order in which they were opened: a replaced stream may still be listed before its successor.
    const streams = new Map(this.#multiplexer.inspect().map((status) => [status.auth?.user, status]))
    return [...this.#places].map(([id, { client, dropped }]) => {
      const { tally, phase, reason, latencyMs, moved, polls, returned } = client
      const status = streams.get(id)
      return {
        id,
        lag: status?.lag ?? null,
        queued: status?.queued ?? null,
        queuedBytes: status?.queuedBytes ?? null,
        tokens: status?.tokens ?? null,
        full: status?.full ?? false,
        unacknowledged: status?.unacknowledged ?? null,
        dropped: { ...dropped },
        phase: phase === 'stream' && status === undefined ? 'cut-off' : phase,
        reason,
        got: tally.got,
        missed: tally.missed,
        missedHigh: tally.missedHigh,
        repeated: tally.repeated,
        behind: tally.highest === 0 ? 0 : this.producer.published - tally.highest,
        latencyMs,
        moved,
        polls,
        returned,
      }
    })
  }

  async close(): Promise<void> {
    diagnosticsChannels.streamDrop.unsubscribe(this.#onDrop)
    this.producer.stop()
    const clients = this.clients.map((client) => client.close())
    this.#places.clear()
    await Promise.all([...clients, this.#multiplexer.close()])
  }

  #streamWith({ backlog, queueEvents, polls }: ClientSettings, pacing: Pacing | undefined): RequestHandler {
    const { stallMs, saturatedMs } = this.#options
    const options: StreamOptions = {
      backlog,
      queueEvents,
      // This queue is bounded by the number of events. All queues together are bounded in bytes by the pressure.
      queueBytes: LIMITS.queueEvents * LIMITS.eventBytes,
      ...(pacing && { pacing }),
      ...(polls && { pollUrl: ({ auth }) => `poll?client=${auth?.user}` }),
      stallMs,
      saturatedMs,
      retryMs: 1000,
      // A slow client needs this time to read the last events, which contain when and where to reconnect.
      closeGraceMs: 20_000,
    }
    return this.#multiplexer.stream(() => CHANNEL, options)
  }

  #place(id: string): Place {
    const place = this.#places.get(id)
    if (place !== undefined) return place
    throw new Problem('ERR_WORKBENCH_CLIENT_NOT_FOUND', 'The workbench has no client with this id')
  }

  readonly #onDrop = (message: unknown): void => {
    const { auth, reason } = message as { auth?: { tenant: string; user: string }; reason: string }
    if (auth?.tenant !== TENANT) return
    const dropped = this.#places.get(auth.user)?.dropped
    if (dropped !== undefined) dropped[reason] = (dropped[reason] ?? 0) + 1
  }
}

function pacingOf({ pacing }: ClientSettings): Pacing | undefined {
  return pacing === null ? undefined : createPacing({ stream: pacing })
}
