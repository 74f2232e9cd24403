/**
 * The workbench of one process: exercises the kit's flow control and shows the result. Owns the watching pages, the
 * samples, and the end: after a minute without watchers and requests everything is closed, so that it costs nothing.
 *
 *   page ─► routes ─► **workbench** ─► bench (multiplexer, producer) ◄─ HTTP ─ simulated clients
 *     ▲                  └─ samples, four a second
 *     └──────────────────────┘
 */
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { type EventStream, PACING_PRESETS } from 'express-sse-kit'
import { Problem } from '../problem.js'
import { Bench, type BenchOptions, DEFAULT_BENCH } from './bench.js'
import { SCENARIOS } from './scenarios.js'
import { changeProducer, DEFAULT_PRODUCER, LIMITS } from './settings.js'
import type { ClientState, Sample, WorkbenchState } from './state.js'

const MAX_WATCHERS = 8
const SAMPLE_MS = 250
const LOOP_RESOLUTION_MS = 20

interface Sampling {
  readonly timer: ReturnType<typeof setInterval>
  readonly loopDelay: IntervalHistogram
}

export interface WorkbenchOptions extends Partial<BenchOptions> {
  /** How long it runs without watchers and requests, in ms. @defaultValue 60_000 */
  readonly idleMs?: number
}

export class Workbench {
  readonly #idleMs: number
  readonly #benchOptions: BenchOptions
  readonly #watchers = new Set<EventStream>()
  #bench: Bench | undefined
  #runs = 0
  #scenario: string | null = null
  #idle: ReturnType<typeof setTimeout> | undefined
  #sampling: Sampling | undefined
  #closed = false

  constructor({ idleMs = 60_000, ...bench }: WorkbenchOptions = {}) {
    this.#idleMs = idleMs
    this.#benchOptions = { ...DEFAULT_BENCH, ...bench }
  }

  /** Whether a bench exists. */
  get running(): boolean {
    return this.#bench !== undefined
  }

  state(): WorkbenchState {
    return {
      producer: this.#bench?.producer.settings ?? DEFAULT_PRODUCER,
      clients: (this.#bench?.clients ?? []).map(({ id, settings }) => ({ id, ...settings })),
      scenario: this.#scenario,
      scenarios: SCENARIOS.map(({ id, title, text }) => ({ id, title, text })),
      presets: PACING_PRESETS,
      limits: LIMITS,
      maxBacklogBytes: this.#benchOptions.maxBacklogBytes,
    }
  }

  sample(): Sample {
    const loopDelay = this.#sampling?.loopDelay
    // The histogram has the time between timers, in ns. The maximum of an empty one is 0.
    const loopDelayMs = Math.max(0, (loopDelay?.max ?? 0) / 1e6 - LOOP_RESOLUTION_MS)
    loopDelay?.reset()
    return {
      at: Date.now(),
      published: this.#bench?.producer.published ?? 0,
      pressure: this.#bench?.pressure.level ?? 'none',
      backlogBytes: this.#bench?.pressure.backlogBytes ?? 0,
      rssBytes: process.memoryUsage.rss(),
      loopDelayMs,
      streams: this.#bench?.streams ?? 0,
      clients: this.#bench?.sample() ?? [],
    }
  }

  /** @throws Problem `ERR_WORKBENCH_INVALID` */
  configureProducer(change: unknown): void {
    const settings = changeProducer(this.#bench?.producer.settings ?? DEFAULT_PRODUCER, change)
    this.#use().producer.configure(settings)
    this.#changed()
  }

  /** @throws Problem as `Bench.add` */
  addClient(base: URL, settings: unknown): ClientState {
    const client = this.#use().add(base, settings)
    this.#changed()
    return { id: client.id, ...client.settings }
  }

  /** @throws Problem as `Bench.change` */
  changeClient(id: string, change: unknown): ClientState {
    const { settings } = this.bench().change(id, change)
    this.#changed()
    return { id, ...settings }
  }

  /** @throws Problem as `Bench.remove` */
  async removeClient(id: string): Promise<void> {
    await this.bench().remove(id)
    this.#changed()
  }

  /** Replaces the running bench with the scenario. @throws Problem `ERR_WORKBENCH_SCENARIO_NOT_FOUND` */
  async play(base: URL, id: string): Promise<void> {
    const scenario = SCENARIOS.find((candidate) => candidate.id === id)
    if (scenario === undefined) {
      throw new Problem('ERR_WORKBENCH_SCENARIO_NOT_FOUND', 'The workbench has no scenario with this id')
    }
    // Nothing is awaited in between, so that concurrent requests do not mix two scenarios.
    const ended = this.#end()
    const bench = this.#use()
    this.#scenario = id
    for (const settings of scenario.clients) bench.add(base, settings)
    bench.producer.configure(scenario.producer)
    this.#changed()
    await ended
  }

  /** The running bench. @throws Problem `ERR_WORKBENCH_CLIENT_NOT_FOUND` if none runs */
  bench(): Bench {
    if (this.#bench !== undefined) return this.#bench
    throw new Problem('ERR_WORKBENCH_CLIENT_NOT_FOUND', 'The workbench is not running')
  }

  /** Sends the state and samples to a page while its stream is open. */
  watch(open: () => EventStream): void {
    if (this.#closed || this.#watchers.size >= MAX_WATCHERS) {
      throw new Problem(
        'ERR_WORKBENCH_FULL',
        `${MAX_WATCHERS} pages watch the workbench, the maximum. Close one first.`,
      )
    }
    const watcher = open()
    this.#watchers.add(watcher)
    watcher.signal.addEventListener('abort', () => {
      this.#watchers.delete(watcher)
      if (this.#watchers.size === 0) this.#stopSampling()
      this.#startIdleTimer()
    })
    watcher.send({ event: 'state', data: this.state() })
    clearTimeout(this.#idle)
    this.#sampling ??= this.#startSampling()
  }

  /** Ends the producer and all clients, and releases their resources. */
  async stop(): Promise<void> {
    const ended = this.#end()
    this.#changed()
    await ended
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    const watchers = [...this.#watchers].map((watcher) => watcher.close('shutdown'))
    await Promise.all([...watchers, this.stop()])
  }

  #use(): Bench {
    if (this.#closed) throw new Problem('ERR_INBOX_UNAVAILABLE', 'The process is shutting down')
    this.#bench ??= new Bench(++this.#runs, this.#benchOptions)
    return this.#bench
  }

  async #end(): Promise<void> {
    const bench = this.#bench
    this.#bench = undefined
    this.#scenario = null
    await bench?.close()
  }

  #startIdleTimer(): void {
    clearTimeout(this.#idle)
    if (this.#watchers.size > 0 || this.#bench === undefined) return
    this.#idle = setTimeout(() => void this.stop(), this.#idleMs)
  }

  /** A change restarts the idle time and is sent to the watching pages. */
  #changed(): void {
    this.#startIdleTimer()
    const data = this.state()
    for (const watcher of this.#watchers) watcher.send({ event: 'state', data })
  }

  #startSampling(): Sampling {
    const loopDelay = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
    loopDelay.enable()
    const timer = setInterval(() => {
      const data = this.sample()
      for (const watcher of this.#watchers) watcher.send({ event: 'sample', data })
    }, SAMPLE_MS)
    return { timer, loopDelay }
  }

  #stopSampling(): void {
    clearInterval(this.#sampling?.timer)
    this.#sampling?.loopDelay.disable()
    this.#sampling = undefined
  }
}
