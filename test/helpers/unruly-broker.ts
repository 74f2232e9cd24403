import type { Broker, ChannelListener, HistoryPage } from '../../lib/broker/broker.js'
import { MemoryBroker } from '../../lib/broker/memory.js'
import type { HistoryOptions } from '../../lib/broker/options.js'
import type { EncodedEvent } from '../../lib/core/message.js'
import type { Head, Position } from '../../lib/core/position.js'
import { systemClock } from '../../lib/core/system-clock.js'

/**
 * A broker whose network the test controls. Its logs are those of an embedded broker, but the test decides when entries
 * are delivered, when replies arrive, and when a subscription is interrupted.
 */
export class UnrulyBroker implements Broker {
  readonly kind = 'memory'
  #logs: MemoryBroker
  readonly #options: HistoryOptions
  readonly #listeners = new Map<string, ChannelListener>()
  #undelivered: { readonly channel: string; readonly deliver: (to: ChannelListener) => void }[] = []
  /** `<channel> <offset>` of the entries that were removed from the history. */
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

  /** The number of calls of `heads` and `read` so far. */
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

  publishMany(channel: string, events: readonly EncodedEvent[]): Promise<readonly Position[]> {
    return this.#holding(channel, () => this.#logs.publishMany(channel, events))
  }

  end(channel: string, last?: EncodedEvent): Promise<Position> {
    return this.#holding(channel, () => this.#logs.end(channel, last))
  }

  /** Holds back what a change of a log delivers. */
  async #holding<T>(channel: string, change: () => Promise<T>): Promise<T> {
    const held: ((to: ChannelListener) => void)[] = []
    await this.#logs.subscribe(channel, {
      onEntry: (entry) => held.push((to) => to.onEntry(entry)),
      onEnded: (position) => held.push((to) => to.onEnded(position)),
      onResubscribed: () => undefined,
    })
    const result = await change()
    if (this.#listeners.has(channel)) this.#undelivered.push(...held.map((deliver) => ({ channel, deliver })))
    return result
  }

  offer(channel: string, event: EncodedEvent): boolean {
    void this.publish(channel, event)
    return true
  }

  async subscribe(channel: string, listener: ChannelListener): Promise<Head> {
    this.#listeners.set(channel, listener)
    const [head] = await this.#logs.heads([channel])
    return head as Head
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

  async heads(channels: readonly string[]): Promise<readonly Head[]> {
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

  /** Delivers the next pending entries. */
  deliver(count: number): void {
    for (const { channel, deliver } of this.#undelivered.splice(0, count)) {
      const listener = this.#listeners.get(channel)
      if (listener !== undefined) deliver(listener)
    }
  }

  /** Lets one reply arrive, by default the oldest. Replies to reads and heads may overtake each other. */
  release(index = 0): void {
    const [answer] = this.#answers.splice(index % Math.max(1, this.#answers.length), 1)
    answer?.()
  }

  /** Loses the pending entries without a notification. */
  swallow(): void {
    this.#undelivered = []
  }

  /** Breaks the connection: loses the pending entries and restores the subscription. */
  async interrupt(channel: string): Promise<void> {
    this.#undelivered = []
    const [head] = await this.#logs.heads([channel])
    if (head) this.#listeners.get(channel)?.onResubscribed(head)
  }

  /** Removes these entries from the history, as XDEL does. */
  remove(channel: string, offsets: readonly number[]): void {
    for (const offset of offsets) this.#removed.add(`${channel} ${offset}`)
  }

  /** Loses all logs. Pending replies are still from the lost logs. */
  lose(): void {
    this.#logs = new MemoryBroker(this.#options, systemClock)
  }

  #answer(): Promise<void> {
    return new Promise((resolve) => this.#answers.push(resolve))
  }
}
