import { expect } from 'chai'
import type { ChannelListener, HistoryPage } from '../../lib/broker/broker.js'
import { MemoryBroker } from '../../lib/broker/memory.js'
import type { LogEntry } from '../../lib/core/message.js'
import type { Head } from '../../lib/core/position.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { Channel } from '../../lib/multiplexer/channel/channel.js'
import { StreamReader } from '../../lib/multiplexer/reader/stream-reader.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { NO_USER, OPTIONS, SmallStream, soon } from './reader-setup.js'

/** A broker with one log whose head, entries and deliveries the test defines. */
class ScriptedBroker extends MemoryBroker {
  head: Head = { epoch: 'first', offset: 0 }
  readonly #log = new Map<number, LogEntry>()
  #listener: ChannelListener | undefined

  constructor() {
    super({}, systemClock)
  }

  override async subscribe(_channel: string, listener: ChannelListener): Promise<Head> {
    this.#listener = listener
    return this.head
  }

  override async heads(): Promise<readonly Head[]> {
    return [this.head]
  }

  override async read(_channel: string, after: number): Promise<HistoryPage> {
    const { epoch, offset } = this.head
    const entries = [...this.#log.values()].filter((entry) => entry.offset > after && entry.offset <= offset)
    return { head: { epoch, offset }, entries, end: offset }
  }

  /** Adds an entry whose data is its offset. Its delivery may be lost. */
  add(offset: number): LogEntry {
    const entry = { epoch: this.head.epoch, offset, ...encodePublished({ data: offset }) }
    this.#log.set(offset, entry)
    this.head = { ...this.head, offset }
    return entry
  }

  /** The log continues under another epoch after `offset`; later entries are lost. */
  continueAs(epoch: string, offset: number): void {
    const { epoch: former, earlier = [] } = this.head
    this.head = { epoch, offset, earlier: [{ epoch: former, offset }, ...earlier] }
  }

  deliver(entry: LogEntry): void {
    this.#listener?.onEntry(entry)
  }

  resubscribe(): void {
    this.#listener?.onResubscribed(this.head)
  }
}

describe('a channel whose log continues under another epoch', () => {
  let broker: ScriptedBroker
  let channel: Channel
  let stream: SmallStream

  beforeEach(async () => {
    broker = new ScriptedBroker()
    channel = new Channel('log', broker, systemClock, OPTIONS)
    stream = new SmallStream()
    await channel.open()
    new StreamReader(stream, [{ channel, offset: 0 }], NO_USER).begin()
  })

  afterEach(() => channel.close())

  async function publish(...offsets: readonly number[]): Promise<void> {
    for (const offset of offsets) broker.deliver(broker.add(offset))
    await soon()
  }

  it('sends an entry that was delivered while the channel recovered under its own epoch', async () => {
    await publish(1, 2)
    // The reply is from before the change, the entry from after it.
    broker.resubscribe()
    broker.continueAs('second', 2)
    broker.deliver(broker.add(3))
    await soon()
    await publish(4)
    expect(stream.seen()).to.deep.equal([1, 2, 3, 4])
    expect(stream.ids()).to.deep.equal(['first-1', 'first-2', 'second-3', 'second-4'])
  })

  it('announces no loss if the only lost entries were never sent', async () => {
    await publish(1)
    // Entry 2 was not delivered, so 3 is not sent before 2 is read. But a failover has lost both.
    broker.add(2)
    const third = broker.add(3)
    broker.continueAs('second', 1)
    broker.deliver(third)
    await soon()
    await publish(2, 3)
    expect(stream.seen()).to.deep.equal([1, 2, 3])
    expect(stream.ids()).to.deep.equal(['first-1', 'second-2', 'second-3'])
  })

  it('knows that it has lost entries of an earlier epoch, for as long as the log lists that epoch', async () => {
    await publish(1, 2, 3)
    broker.continueAs('second', 1)
    broker.resubscribe()
    await soon()
    expect(stream.seen().at(-1)).to.deep.include({ event: 'sse.reset', reason: 'log_replaced' })
    const position = { epoch: 'first', offset: 1 }
    expect(channel.positionIn([position])).to.deep.equal(position)
    expect(channel.hasLostAfter(position)).to.equal(true)
    broker.head = { epoch: 'third', offset: 1, earlier: [{ epoch: 'second', offset: 1 }] }
    broker.resubscribe()
    await soon()
    expect(channel.epoch).to.equal('third')
    expect(channel.positionIn([position])).to.equal(undefined)
    expect(channel.hasLostAfter(position)).to.equal(false)
  })
})
