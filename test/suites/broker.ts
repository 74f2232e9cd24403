import { expect } from 'chai'
import type { Broker, ChannelListener } from '../../lib/broker/broker.js'
import type { HistoryOptions } from '../../lib/broker/options.js'
import { diagnostics } from '../../lib/core/diagnostics.js'
import type { LogEntry } from '../../lib/core/message.js'
import type { Head, Position } from '../../lib/core/position.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'

export interface BrokerUnderTest {
  create(options: HistoryOptions): Broker
  /** Lets `ms` pass on the clock of everything that expires. */
  pass(ms: number): Promise<void>
  /** Lets `metaTtlMs` pass for a log that nobody uses. */
  expire(channel: string): Promise<void>
}

/** The guarantees of every broker; see `Broker` in lib/broker/broker.ts. */
export function brokerSuite(name: string, setUp: () => Promise<BrokerUnderTest>): void {
  describe(`the ${name} broker, as a Broker`, () => {
    const event = (data: unknown, ephemeral = false) => encodePublished({ data, ephemeral })
    let subject: BrokerUnderTest
    let broker: Broker
    let channelNumber = 0
    let channel: string

    before(async () => {
      subject = await setUp()
    })
    beforeEach(() => {
      broker = subject.create({})
      channel = `suite:${name}:${++channelNumber}`
    })
    afterEach(() => broker.close())

    it('assigns dense offsets from 1 within one epoch', async () => {
      const positions = await publishNumbers(broker, channel, 5)
      expect(positions.map(({ offset }) => offset)).to.deep.equal([1, 2, 3, 4, 5])
      expect(new Set(positions.map(({ epoch }) => epoch)).size).to.equal(1)
      expect(positions[0]?.epoch).to.match(/^[a-z0-9]{6}$/)
    })

    it('assigns a distinct offset to each of many concurrent publishes', async () => {
      const positions = await Promise.all(
        Array.from({ length: 200 }, (_, i) => broker.publish(channel, encodePublished({ data: i }))),
      )
      const offsets = positions.map(({ offset }) => offset).sort((a, b) => a - b)
      expect(offsets).to.deep.equal(Array.from({ length: 200 }, (_, i) => i + 1))
    })

    it('creates a log when its head is read, so its epoch exists before its first event', async () => {
      const [head] = await broker.heads([channel])
      expect(head?.offset).to.equal(0)
      const first = await broker.publish(channel, encodePublished({ data: 'first' }))
      expect(first).to.deep.equal({ epoch: head?.epoch, offset: 1 })
    })

    it('separates the logs of different channels', async () => {
      await publishNumbers(broker, channel, 3)
      const [head, other] = await broker.heads([channel, `${channel}:other`])
      expect(head?.offset).to.equal(3)
      expect(other?.offset).to.equal(0)
      expect(other?.epoch).to.not.equal(head?.epoch)
    })

    it('delivers events published after the acknowledgement, in order and unchanged', async () => {
      await publishNumbers(broker, channel, 2)
      const listener = new Recorder()
      const head = await broker.subscribe(channel, listener)
      expect(head.offset).to.equal(2)
      const data = 'naïve – 漢字 🙂 \u0000 end'
      await broker.publish(
        channel,
        encodePublished({ event: 'greeting', data, priority: 'high', key: 'k €', ttlMs: 5000 }),
      )
      await broker.publish(channel, encodePublished({ data: 'b' }))
      await listener.until(2)
      const [first, second] = listener.entries as [LogEntry, LogEntry]
      expect(first.body.toString()).to.equal(`event: greeting\ndata: ${data}\n\n`)
      expect(first).to.include({ epoch: head.epoch, offset: 3, priority: 'high', key: 'k%20%E2%82%AC', ttlMs: 5000 })
      expect(second).to.include({ epoch: head.epoch, offset: 4, priority: 'normal', key: undefined, ttlMs: undefined })
    })

    it('delivers nothing after unsubscribe, and delivers again after another subscribe', async () => {
      const listener = new Recorder()
      await broker.subscribe(channel, listener)
      await broker.unsubscribe(channel, listener)
      await broker.publish(channel, encodePublished({ data: 'missed' }))
      const again = new Recorder()
      await broker.subscribe(channel, again)
      await broker.publish(channel, encodePublished({ data: 'received' }))
      await again.until(1)
      expect(again.entries[0]?.offset).to.equal(2)
      expect(listener.entries).to.have.length(0)
    })

    it('does not end the subscription of a listener that has replaced another', async () => {
      const [former, current] = [new Recorder(), new Recorder()]
      await broker.subscribe(channel, former)
      await broker.subscribe(channel, current)
      // As after a request whose channel could not be opened.
      await broker.unsubscribe(channel, former)
      await broker.publish(channel, encodePublished({ data: 'received' }))
      await current.until(1)
      expect(former.entries).to.have.length(0)
    })

    it('delivers an ephemeral event without adding it to the log', async () => {
      const listener = new Recorder()
      await broker.subscribe(channel, listener)
      const position = await broker.publish(channel, encodePublished({ event: 'typing', data: 1, ephemeral: true }))
      await listener.until(1)
      expect(position.offset).to.equal(0)
      expect(listener.entries[0]?.offset).to.equal(0)
      expect(listener.entries[0]?.body.toString()).to.equal('event: typing\ndata: 1\n\n')
      expect((await broker.read(channel, 0, 10)).entries).to.have.length(0)
    })

    it('reads the history after an offset, oldest first, up to the limit, with the current head', async () => {
      await publishNumbers(broker, channel, 10)
      const page = await broker.read(channel, 4, 3)
      expect(page.head.offset).to.equal(10)
      expect(page.entries.map(({ offset }) => offset)).to.deep.equal([5, 6, 7])
      const entry = page.entries[0] as LogEntry
      expect(entry.body.toString()).to.equal('data: 5\n\n')
      expect((await broker.read(channel, 10, 3)).entries).to.deep.equal([])
      expect((await broker.read(channel, 99, 3)).entries).to.deep.equal([])
    })

    it('reads any part of a group of events published together, and full pages across groups', async () => {
      for (const count of [1, 100, 3, 256, 40]) {
        await broker.publishMany(
          channel,
          range(1, count).map((data) => encodePublished({ data })),
        )
      }
      for (const [after, limit] of [
        [0, 400],
        [0, 1],
        [50, 10],
        [100, 3],
        [101, 299],
        [103, 256],
        [359, 100],
        [399, 10],
      ] as const) {
        const { entries } = await broker.read(channel, after, limit)
        const last = Math.min(400, after + limit)
        expect(
          entries.map(({ offset }) => offset),
          `${after}, ${limit}`,
        ).to.deep.equal(range(after + 1, last))
      }
    })

    it('reports the end of each page: the head, or the last offset before a limit', async () => {
      await publishNumbers(broker, channel, 10)
      const ends = []
      for (const [after, limit] of [
        [0, 3],
        [3, 7],
        [3, 8],
        [10, 3],
        [12, 3],
      ] as const) {
        ends.push((await broker.read(channel, after, limit)).end)
      }
      expect(ends.slice(0, 4)).to.deep.equal([3, 10, 10, 10])
      expect(ends[4]).to.be.within(10, 12)
    })

    it('limits a page in bytes, but reads at least one event', async () => {
      const large = (n: number) => encodePublished({ data: `${n} ${'x'.repeat(1000)}` })
      await broker.publish(channel, encodePublished({ data: 'small' }))
      await broker.publishMany(channel, range(2, 20).map(large))
      for (let n = 21; n <= 60; n++) await broker.publish(channel, large(n))
      const seen: number[] = []
      for (let after = 0; after < 60; ) {
        const { entries, end, head } = await broker.read(channel, after, 256, 3500)
        expect(head.offset).to.equal(60)
        const bytes = entries.reduce((sum, { body }) => sum + body.length, 0)
        expect(bytes).to.be.at.most(3500)
        expect(end).to.equal(entries.at(-1)?.offset)
        seen.push(...entries.map(({ offset }) => offset))
        after = end
      }
      expect(seen).to.deep.equal(range(1, 60))
      const { entries, end } = await broker.read(channel, 30, 256, 10)
      expect(entries.map(({ offset }) => offset)).to.deep.equal([31])
      expect(end).to.equal(31)
    })

    it('keeps the hints of queue policies in the history', async () => {
      await broker.publish(channel, encodePublished({ data: 1, priority: 'low', key: 'k', ttlMs: 7 }))
      const { entries } = await broker.read(channel, 0, 1)
      expect(entries[0]).to.include({ priority: 'low', key: 'k', ttlMs: 7 })
    })

    it('keeps at least historySize events, and removes older ones without changing offsets', async () => {
      await broker.close()
      broker = subject.create({ historySize: 100 })
      await publishNumbers(broker, channel, 500)
      const page = await broker.read(channel, 0, 1000)
      expect(page.head.offset).to.equal(500)
      const offsets = page.entries.map(({ offset }) => offset)
      expect(offsets.length).to.be.within(100, 250)
      expect(offsets.at(-1)).to.equal(500)
      expect(offsets[0]).to.equal(500 - offsets.length + 1)
    })

    it('keeps no history with historySize 0, but continues the offsets', async () => {
      await broker.close()
      broker = subject.create({ historySize: 0 })
      await publishNumbers(broker, channel, 3)
      const page = await broker.read(channel, 0, 10)
      expect(page).to.deep.equal({ head: page.head, entries: [], end: 3 })
      expect(page.head.offset).to.equal(3)
    })

    it('expires the history after its time without a publish, and keeps the epoch and offset', async () => {
      await broker.close()
      broker = subject.create({ historyTtlMs: 150 })
      const [first] = await publishNumbers(broker, channel, 3)
      await subject.pass(200)
      const page = await broker.read(channel, 0, 10)
      expect(page).to.deep.equal({ head: { epoch: first?.epoch, offset: 3 }, entries: [], end: 3 })
      expect(await broker.publish(channel, encodePublished({ data: 4 }))).to.deep.equal({
        epoch: first?.epoch,
        offset: 4,
      })
    })

    it('starts a new epoch after a log has expired', async () => {
      await broker.close()
      broker = subject.create({ historyTtlMs: 100, metaTtlMs: 150 })
      const [first] = await publishNumbers(broker, channel, 2)
      await subject.expire(channel)
      const [head] = await broker.heads([channel])
      expect(head?.offset).to.equal(0)
      expect(head?.epoch).to.not.equal(first?.epoch)
    })

    it('never expires a log with a subscriber, even without publishes', async () => {
      await broker.close()
      broker = subject.create({ historyTtlMs: 200, metaTtlMs: 400 })
      const listener = new Recorder()
      const head = await broker.subscribe(channel, listener)
      await subject.pass(1500)
      expect(await broker.publish(channel, encodePublished({ data: 1 }))).to.deep.equal({
        epoch: head.epoch,
        offset: 1,
      })
      await listener.until(1)
    })

    it('publishes once per idempotency key, also concurrently, until the key expires', async () => {
      await broker.close()
      broker = subject.create({ idempotencyTtlMs: 150 })
      const listener = new Recorder()
      await broker.subscribe(channel, listener)
      const publish = (key: string): Promise<Position> =>
        broker.publish(channel, encodePublished({ data: key }), { idempotencyKey: key })
      const [a, b, c] = await Promise.all([publish('one'), publish('one'), publish('two')])
      expect(a).to.deep.equal(b)
      expect(c?.offset).to.equal(2)
      expect(
        (await broker.publish(`${channel}:other`, encodePublished({ data: 1 }), { idempotencyKey: 'one' })).offset,
      ).to.equal(1)
      await subject.pass(200)
      expect((await publish('one')).offset).to.equal(3)
      await listener.until(3)
      expect(listener.entries.map(({ offset }) => offset)).to.deep.equal([1, 2, 3])
    })

    it('ignores an idempotency key on ephemeral events, which are in no log', async () => {
      const listener = new Recorder()
      await broker.subscribe(channel, listener)
      const publish = () =>
        broker.publish(channel, encodePublished({ data: 1, ephemeral: true }), { idempotencyKey: 'one' })
      expect([(await publish()).offset, (await publish()).offset]).to.deep.equal([0, 0])
      await broker.publish(channel, encodePublished({ data: 2 }), { idempotencyKey: 'one' })
      await listener.until(3)
      expect(listener.entries.map(({ offset }) => offset)).to.deep.equal([0, 0, 1])
    })

    it('publishes several events as one step: adjacent and in order, despite concurrent publishes', async () => {
      const listener = new Recorder()
      const { epoch } = await broker.subscribe(channel, listener)
      const batches = range(0, 19).map((batch) => range(0, 9).map((i) => encodePublished({ data: `${batch}:${i}` })))
      const [, ...positions] = await Promise.all([
        publishNumbers(broker, channel, 50),
        ...batches.map((events) => broker.publishMany(channel, events)),
      ])
      for (const batch of positions) {
        const first = batch[0]?.offset ?? 0
        expect(batch).to.deep.equal(range(first, first + 9).map((offset) => ({ epoch, offset })))
      }
      await listener.until(250)
      expect(listener.entries.map(({ offset }) => offset)).to.deep.equal(range(1, 250))
      const dataAt = (offset: number) => /data: (.*)/.exec(listener.entries[offset - 1]?.body.toString() ?? '')?.[1]
      positions.forEach((batch, number) => {
        expect(batch.map(({ offset }) => dataAt(offset))).to.deep.equal(range(0, 9).map((i) => `${number}:${i}`))
      })
      expect((await broker.read(channel, 0, 300)).entries.map(({ body }) => body.toString())).to.deep.equal(
        listener.entries.map(({ body }) => body.toString()),
      )
    })

    it('keeps the order of all kinds of publishes within one tick', async () => {
      const listener = new Recorder()
      await broker.subscribe(channel, listener)
      const event = (data: string, ephemeral = false) => encodePublished({ data, ephemeral })
      const published = [
        broker.publish(channel, event('a')),
        broker.publish(channel, event('typing', true)),
        broker.publishMany(channel, [event('b'), event('typing', true), event('c')]),
        broker.publish(channel, event('d'), { idempotencyKey: 'd' }),
      ]
      expect(broker.offer(channel, event('e'))).to.equal(true)
      published.push(broker.publish(channel, event('f')))
      const positions = (await Promise.all(published)).flat()
      expect(positions.map(({ offset }) => offset)).to.deep.equal([1, 0, 2, 0, 3, 4, 6])
      await listener.until(8)
      const received = listener.entries.map(
        ({ offset, body }) => `${offset} ${/data: (.*)/.exec(body.toString())?.[1]}`,
      )
      expect(received).to.deep.equal(['1 a', '0 typing', '2 b', '0 typing', '3 c', '4 d', '5 e', '6 f'])
      const { entries } = await broker.read(channel, 0, 10)
      expect(entries.map(({ offset, body }) => `${offset} ${body}`)).to.deep.equal(
        ['a', 'b', 'c', 'd', 'e', 'f'].map((data, i) => `${i + 1} data: ${data}\n\n`),
      )
    })

    it('publishes the other events of a tick if one has a used idempotency key', async () => {
      const publish = (data: number, idempotencyKey?: string) =>
        broker.publish(channel, encodePublished({ data }), idempotencyKey === undefined ? {} : { idempotencyKey })
      await publish(1, 'one')
      const positions = await Promise.all([publish(2), publish(1, 'one'), publish(3)])
      expect(positions.map(({ offset }) => offset)).to.deep.equal([2, 1, 3])
      expect((await broker.read(channel, 0, 10)).entries).to.have.length(3)
    })

    it('publishes several events once per idempotency key, and returns the same positions again', async () => {
      const publish = () =>
        broker.publishMany(
          channel,
          range(1, 3).map((data) => encodePublished({ data, ephemeral: data === 2 })),
          { idempotencyKey: 'batch' },
        )
      const first = await publish()
      expect(first.map(({ offset }) => offset)).to.deep.equal([1, 0, 2])
      await publishNumbers(broker, channel, 2)
      expect(await publish()).to.deep.equal(first)
      expect((await broker.heads([channel]))[0]?.offset).to.equal(4)
    })

    it('sends signals to one process or to all, and returns the number of receivers', async () => {
      const other = subject.create({})
      const got: string[] = []
      broker.onSignal((text) => got.push(`a ${text}`))
      other.onSignal((text) => got.push(`b ${text}`))
      // In a cluster other nodes serve the signals, so only a signal shows that the subscription is active.
      for (const [to, processes] of [
        [broker.processId, 1],
        [other.processId, broker.kind === 'redis' ? 1 : 0],
        [undefined, broker.kind === 'redis' ? 2 : 1],
      ] as const) {
        await eventually(async () => (await broker.signal(to, 'are you there?')) === processes)
      }
      expect(await broker.signal(broker.processId, 'self ü')).to.equal(1)
      expect(await broker.signal('0'.repeat(16), 'to no process')).to.equal(0)
      expect(await broker.signal(undefined, 'all')).to.equal(broker.kind === 'redis' ? 2 : 1)
      if (broker.kind === 'redis') expect(await broker.signal(other.processId, 'you')).to.equal(1)
      const expected = broker.kind === 'redis' ? ['a self ü', 'a all', 'b all', 'b you'] : ['a self ü', 'a all']
      const answers = () => got.filter((text) => !text.endsWith('there?'))
      await eventually(() => answers().length >= expected.length)
      expect(answers()).to.have.members(expected)
      await other.close()
    })

    describe('keeps as much of a log as its retention says', () => {
      const kept = async (name: string) => (await broker.read(name, 0, 1000)).entries.map(({ offset }) => offset)

      it('for each channel', async () => {
        broker = subject.create({
          historySize: 10,
          historyTtlMs: 60_000,
          retention: (name) => {
            if (name.endsWith(':long')) return { historySize: 1000 }
            return name.endsWith(':brief') ? { historyTtlMs: 200 } : undefined
          },
        })
        const names = [channel, `${channel}:long`, `${channel}:brief`]
        // Several in one tick, and so perhaps in one call.
        for (let n = 1; n <= 500; n++) await Promise.all(names.map((name) => broker.publish(name, event(n))))
        const [common = [], long] = await Promise.all(names.map(kept))
        // Redis removes nodes of 100 entries.
        expect(common.length).to.be.within(10, 250)
        expect(common.at(-1)).to.equal(500)
        expect(long).to.deep.equal(range(1, 500))
        await subject.pass(300)
        expect(await kept(`${channel}:brief`)).to.deep.equal([])
        expect((await broker.heads([`${channel}:brief`]))[0]?.offset).to.equal(500)
        expect(await kept(channel)).to.deep.equal(common)
      })

      it('and refuses what has a wrong one, or none', async () => {
        const fault = new Error('no such channel')
        broker = subject.create({
          retention: (name) => {
            if (name.endsWith(':fault')) throw fault
            return (name.endsWith(':wrong') ? { historySize: -1 } : Promise.resolve({})) as never
          },
        })
        for (const [name, code] of [
          [`${channel}:wrong`, 'ERR_SSE_CALLBACK_INVALID'],
          [`${channel}:promise`, 'ERR_SSE_OPTION_INVALID'],
        ] as const) {
          expect(await codeOf(broker.publish(name, event(1)))).to.equal(code)
          expect(await codeOf(broker.heads([name]))).to.equal(code)
        }
        const error = await broker.end(`${channel}:fault`).catch((reason: unknown) => reason)
        expect(error).to.equal(fault)
        expect(() => subject.create({ retention: 5 as never }))
          .to.throw()
          .with.property('code', 'ERR_SSE_OPTION_INVALID')
      })
    })

    describe('ends a log', () => {
      it('after the last event, as one step, and notifies its subscribers', async () => {
        const [first] = await publishNumbers(broker, channel, 2)
        const listener = new Recorder()
        await broker.subscribe(channel, listener)
        const end = { epoch: first?.epoch, offset: 3 }
        expect(await broker.end(channel, event('last'))).to.deep.equal(end)
        await listener.when(() => listener.ends.length === 1)
        expect(listener.ends).to.deep.equal([end])
        expect(listener.entries.map(({ offset, body }) => `${offset} ${body}`)).to.deep.equal(['3 data: last\n\n'])
        const { entries, head } = await broker.read(channel, 0, 10)
        expect([entries.length, head]).to.deep.equal([3, end])
      })

      it('also without an event, or with an ephemeral one', async () => {
        const others = [`${channel}:empty`, `${channel}:ephemeral`]
        await publishNumbers(broker, channel, 2)
        for (const [i, name] of [channel, ...others].entries()) {
          const listener = new Recorder()
          await broker.subscribe(name, listener)
          const end = await broker.end(name, i === 2 ? event('bye', true) : undefined)
          await listener.when(() => listener.ends.length === 1)
          expect(listener.ends).to.deep.equal([end])
          expect(end.offset).to.equal(i === 0 ? 2 : 0)
          expect(listener.entries.map(({ offset }) => offset)).to.deep.equal(i === 2 ? [0] : [])
          expect((await broker.read(name, 0, 10)).entries).to.have.length(end.offset)
        }
      })

      it('for good: its heads show it, and later events are refused', async () => {
        await publishNumbers(broker, channel, 2)
        const end = await broker.end(channel)
        const listener = new Recorder()
        expect(await broker.subscribe(channel, listener)).to.deep.equal({ ...end, ended: true })
        expect(await broker.heads([channel])).to.deep.equal([{ ...end, ended: true }])
        for (const call of [
          () => broker.publish(channel, event(1)),
          () => broker.publishMany(channel, [event(1), event(2, true)]),
          () => broker.publish(channel, event(1), { idempotencyKey: 'new' }),
        ]) {
          expect(await codeOf(call())).to.equal('ERR_SSE_CHANNEL_ENDED')
        }
        const failed: { error: { code: string } }[] = []
        const note = (message: unknown) => failed.push(message as (typeof failed)[0])
        diagnostics.publishError.subscribe(note)
        expect(broker.offer(channel, event(1))).to.equal(true)
        await eventually(() => failed.length === 1)
        diagnostics.publishError.unsubscribe(note)
        expect(failed[0]).to.include({ channel, events: 1 })
        expect(failed[0]?.error.code).to.equal('ERR_SSE_CHANNEL_ENDED')
        expect((await broker.read(channel, 0, 10)).head).to.deep.equal(end)
        expect(listener.entries).to.deep.equal([])
      })

      it('once: ending it again changes nothing, and returns the same position', async () => {
        const end = await broker.end(channel, event(1))
        const listener = new Recorder()
        await broker.subscribe(channel, listener)
        const all = [broker.end(channel, event(2)), broker.end(channel), broker.publish(channel, event(3))]
        const settled = await Promise.allSettled(all)
        expect(settled.map(({ status }) => status)).to.deep.equal(['fulfilled', 'fulfilled', 'rejected'])
        for (const outcome of settled.slice(0, 2)) expect(outcome).to.deep.include({ value: end })
        expect((await broker.read(channel, 0, 10)).entries).to.have.length(1)
        expect(listener.entries).to.deep.equal([])
        for (const again of listener.ends) expect(again).to.deep.equal(end)
      })

      it('in the order of the calls: earlier events are in it, later ones are refused', async () => {
        const before = [broker.publish(channel, event(1)), broker.publish(channel, event(2))]
        const end = broker.end(channel, event(3))
        const after = broker.publish(channel, event(4))
        expect(await codeOf(after)).to.equal('ERR_SSE_CHANNEL_ENDED')
        expect((await Promise.all([...before, end])).map(({ offset }) => offset)).to.deep.equal([1, 2, 3])
        const { entries } = await broker.read(channel, 0, 10)
        expect(entries.map(({ body }) => body.toString())).to.deep.equal([1, 2, 3].map((n) => `data: ${n}\n\n`))
      })

      it('and still recognises an event that was published before', async () => {
        const options = { idempotencyKey: 'once' }
        const position = await broker.publish(channel, event(1), options)
        await broker.end(channel)
        expect(await broker.publish(channel, event(1), options)).to.deep.equal(position)
      })
    })

    it('replies to a ping, and rejects with a code after close', async () => {
      await broker.ping()
      await broker.close()
      await broker.close()
      expect(broker.state).to.equal('closed')
      for (const call of [
        () => broker.publish(channel, encodePublished({ data: 1 })),
        () => broker.publishMany(channel, [encodePublished({ data: 1 })]),
        () => broker.subscribe(channel, new Recorder()),
        () => broker.read(channel, 0, 1),
        () => broker.heads([channel]),
        () => broker.end(channel),
        () => broker.ping(),
      ]) {
        expect(await codeOf(call())).to.equal('ERR_SSE_CLOSED')
      }
      expect(broker.offer(channel, encodePublished({ data: 1 }))).to.equal(false)
      await broker.unsubscribe(channel, new Recorder())
    })
  })
}

/** A listener that records its calls, and can be awaited. */
export class Recorder implements ChannelListener {
  readonly entries: LogEntry[] = []
  readonly ends: Position[] = []
  readonly resubscribed: Head[] = []
  #wake: (() => void) | undefined

  onEntry(entry: LogEntry): void {
    this.entries.push(entry)
    this.#wake?.()
  }

  onEnded(position: Position): void {
    this.ends.push(position)
    this.#wake?.()
  }

  onResubscribed(head: Head): void {
    this.resubscribed.push(head)
    this.#wake?.()
  }

  /** Resolves when `count` entries have arrived. The time-out of the test bounds the wait. */
  until(count: number): Promise<void> {
    return this.when(() => this.entries.length >= count)
  }

  async when(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}

export async function publishNumbers(broker: Broker, channel: string, count: number): Promise<Position[]> {
  const positions: Position[] = []
  for (let i = 1; i <= count; i++) positions.push(await broker.publish(channel, encodePublished({ data: i })))
  return positions
}

/** The code that a promise rejects with. Throws if the promise resolves. */
export async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise
  } catch (error) {
    return (error as { code?: string }).code
  }
  throw new Error('Expected a rejection, but the promise resolved')
}
