import type { Broker, ChannelListener, HistoryPage } from '../../lib/broker/broker.js'
import { MemoryBroker } from '../../lib/broker/memory.js'
import type { HistoryOptions } from '../../lib/broker/options.js'
import type { EncodedEvent, LogEntry } from '../../lib/core/message.js'
import type { Position } from '../../lib/core/position.js'
import { systemClock } from '../../lib/core/system-clock.js'

/**
 * A broker whose network a test controls: its logs are real (the embedded broker's), but what was published is delivered
 * only when the test says so, answers come only when the test lets them, and a subscription can be interrupted.
 */
export class UnrulyBroker implements Broker {
  readonly kind = 'memory'
  #logs: MemoryBroker
  readonly #options: HistoryOptions
  readonly #listeners = new Map<string, ChannelListener>()
  #undelivered: { readonly channel: string; readonly entry: LogEntry }[] = []
  /** `<channel> <offset>` of entries that the history has lost. */
  readonly #removed = new Set<string>()
  #answers: (() => void)[] = []
  #heads = 0
  #reads = 0

  constructor(options: HistoryOptions = {}) {
    this.#options = options
    this.#logs = new MemoryBroker(options, systemClock)
  }

  get processId(): string {
    return this.#logs.processId
  }

  get state() {
    return this.#logs.state
  }

  /** Calls of `heads` and `read` so far. */
  get calls(): { heads: number; reads: number } {
    return { heads: this.#heads, reads: this.#reads }
  }

  get idle(): boolean {
    return this.#undelivered.length === 0 && this.#answers.length === 0
  }

  async publish(channel: string, event: EncodedEvent): Promise<Position> {
    const [position] = await this.publishMany(channel, [event])
    return position as Position
  }

  async publishMany(channel: string, events: readonly EncodedEvent[]): Promise<readonly Position[]> {
    const entries: LogEntry[] = []
    await this.#logs.subscribe(channel, { onEntry: (entry) => entries.push(entry), onResubscribed: () => undefined })
    const positions = await this.#logs.publishMany(channel, events)
    if (this.#listeners.has(channel)) this.#undelivered.push(...entries.map((entry) => ({ channel, entry })))
    return positions
  }

  offer(channel: string, event: EncodedEvent): boolean {
    void this.publish(channel, event)
    return true
  }

  async subscribe(channel: string, listener: ChannelListener): Promise<Position> {
    this.#listeners.set(channel, listener)
    const [head] = await this.#logs.heads([channel])
    return head as Position
  }

  async unsubscribe(channel: string): Promise<void> {
    this.#listeners.delete(channel)
    this.#undelivered = this.#undelivered.filter((each) => each.channel !== channel)
  }

  async read(channel: string, after: number, limit: number): Promise<HistoryPage> {
    this.#reads++
    const page = await this.#logs.read(channel, after, limit)
    await this.#answer()
    return { ...page, entries: page.entries.filter(({ offset }) => !this.#removed.has(`${channel} ${offset}`)) }
  }

  async heads(channels: readonly string[]): Promise<readonly Position[]> {
    this.#heads++
    const heads = await this.#logs.heads(channels)
    await this.#answer()
    return heads
  }

  signal(processId: string | undefined, text: string): Promise<number> {
    return this.#logs.signal(processId, text)
  }

  onSignal(listener: (text: string) => void): void {
    this.#logs.onSignal(listener)
  }

  ping(): Promise<void> {
    return this.#logs.ping()
  }

  close(): Promise<void> {
    return this.#logs.close()
  }

  /** Delivers the next entries that are under way. */
  deliver(count: number): void {
    for (const { channel, entry } of this.#undelivered.splice(0, count)) this.#listeners.get(channel)?.onEntry(entry)
  }

  /** Lets one answer through, the oldest first or any other: reads and heads may overtake each other. */
  release(index = 0): void {
    const [answer] = this.#answers.splice(index % Math.max(1, this.#answers.length), 1)
    answer?.()
  }

  /** What is under way is lost, and nobody is told. */
  swallow(): void {
    this.#undelivered = []
  }

  /** The connection breaks: what is under way is lost, and the subscription is brought back. */
  async interrupt(channel: string): Promise<void> {
    this.#undelivered = []
    const [head] = await this.#logs.heads([channel])
    if (head) this.#listeners.get(channel)?.onResubscribed(head)
  }

  /** The history has lost these entries, as after XDEL. */
  remove(channel: string, offsets: readonly number[]): void {
    for (const offset of offsets) this.#removed.add(`${channel} ${offset}`)
  }

  /** All logs are lost. Answers under way are still those of the lost ones. */
  lose(): void {
    this.#logs = new MemoryBroker(this.#options, systemClock)
  }

  #answer(): Promise<void> {
    return new Promise((resolve) => this.#answers.push(resolve))
  }
}
