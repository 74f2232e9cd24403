import { expect } from 'chai'
import fc from 'fast-check'
import { systemClock } from '../../lib/core/system-clock.js'
import { Channel } from '../../lib/multiplexer/channel/channel.js'
import { resumePositions } from '../../lib/multiplexer/reader/resume.js'
import { StreamReader } from '../../lib/multiplexer/reader/stream-reader.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { range } from '../helpers/range.js'
import { NO_USER, OPTIONS, Setup, SmallStream, soon } from './reader-setup.js'

type Seen = number | { readonly event: string; readonly from: number; readonly to: number }

/** Checks that events seen and gaps announced are together 1 … `last`, in order. @returns the events seen */
function accountedFor(seen: readonly unknown[], last: number): number[] {
  let next = 1
  const numbers: number[] = []
  for (const it of seen as readonly Seen[]) {
    if (typeof it === 'number') {
      expect(it).to.equal(next)
      numbers.push(it)
      next++
    } else {
      expect(it).to.include({ event: 'sse.gap', from: next })
      next = it.to + 1
    }
  }
  expect(next).to.equal(last + 1)
  return numbers
}

describe('gaps and resets announced to a stream', () => {
  it('include each later gap, if the stream began with the oldest entry kept', async () => {
    const setup = new Setup(10, { tailBytes: 0, tailEntries: 0 })
    await setup.channel.open()
    const reader = new StreamReader(setup.stream, await setup.startsFrom(undefined, true), NO_USER)
    reader.begin()
    // The stream is live immediately: the log is empty. Then its socket is full, and the log trims unsent events.
    setup.stream.allow(0)
    await setup.publish(50)
    setup.broker.deliver(50)
    await setup.settle()
    accountedFor(setup.stream.seen(), 50)
  })

  it('do not include the entries before the oldest one, if the stream began with the oldest entry kept', async () => {
    const setup = new Setup(10, { tailBytes: 0, tailEntries: 0 })
    await setup.channel.open()
    await setup.publish(50)
    setup.broker.deliver(50)
    await setup.settle()
    const reader = new StreamReader(setup.stream, await setup.startsFrom(undefined, true), NO_USER)
    reader.begin()
    await setup.settle()
    expect(setup.stream.seen()).to.deep.equal(range(41, 50))
  })

  it('include every hole in the history, and every other entry is sent', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 30 }), async (gone) => {
        const setup = new Setup(10_000, { tailBytes: 0, tailEntries: 0 })
        await setup.channel.open()
        await setup.publish(40)
        setup.broker.deliver(40)
        await setup.settle()
        setup.broker.remove('log', gone)
        const starts = await setup.startsFrom(`${setup.channel.epoch}-0`)
        new StreamReader(setup.stream, starts, NO_USER).begin()
        await setup.settle()
        const seen = accountedFor(setup.stream.seen(), 40)
        expect(seen).to.deep.equal(range(1, 40).filter((n) => !gone.includes(n)))
      }),
      { numRuns: 200 },
    )
  })

  it('include every hole in the pages of a recovering channel, and every other entry is sent', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 30 }), async (gone) => {
        const setup = new Setup()
        await setup.open()
        await setup.publish(40)
        setup.broker.remove('log', gone)
        await setup.broker.interrupt('log')
        await setup.settle()
        const seen = accountedFor(setup.stream.seen(), 40)
        expect(seen).to.deep.equal(range(1, 40).filter((n) => !gone.includes(n)))
      }),
      { numRuns: 200 },
    )
  })

  it('are none for a cursor ahead of the entries delivered here, with and without a history', async () => {
    for (const historySize of [0, 1, 10_000]) {
      const setup = new Setup(historySize, { tailBytes: 10_000, tailEntries: 100 })
      await setup.open()
      await setup.publish(5)
      const ahead = new SmallStream()
      new StreamReader(ahead, await setup.startsFrom(`${setup.channel.epoch}-4`), NO_USER).begin()
      setup.broker.deliver(3)
      await soon()
      await setup.publish(2)
      await setup.settle()
      expect(setup.stream.seen(), `the stream that was there, historySize ${historySize}`).to.deep.equal(range(1, 7))
      expect(ahead.seen(), `the one ahead, historySize ${historySize}`).to.deep.equal(range(5, 7))
    }
  })

  it('do not include a reset if newer entries arrived while the head was requested', async () => {
    const setup = new Setup()
    await setup.open()
    const catchingUp = setup.channel.catchUp()
    // The answer is delayed, and out of date when it arrives.
    await soon()
    await setup.publish(20)
    setup.broker.deliver(20)
    await setup.broker.interrupt('log')
    await setup.settle()
    await catchingUp
    expect(setup.stream.seen()).to.deep.equal(range(1, 20))
  })

  it('send a reset before any id that includes it, also while a page of another channel is read', async () => {
    const setup = new Setup()
    const { broker, stream } = setup
    const channels = ['a', 'b'].map((name) => new Channel(name, broker, systemClock, OPTIONS))
    const [a, b] = channels as [Channel, Channel]
    const publish = async (name: string, count: number) => {
      for (let i = 0; i < count; i++) await broker.publish(name, encodePublished({ data: 1 }))
      broker.deliver(count)
      await setup.settle()
    }
    await Promise.all(channels.map((channel) => channel.open()))
    await publish('a', 100)
    await publish('b', 10)
    const starts = resumePositions(
      channels,
      [a, b].map(({ epoch }, i) => ({ epoch, offset: i * 10 })),
      false,
    )
    const before = b.epoch
    new StreamReader(stream, starts, NO_USER).begin()
    await soon()
    // The page of `a` is being read when the channel `b` finds that its log was replaced.
    broker.lose()
    b.onEntry({
      epoch: 'newlog',
      offset: 1,
      body: Buffer.from('data: 1\n\n'),
      priority: 'normal',
      key: undefined,
      ttlMs: undefined,
    })
    await setup.settle()
    expect(b.epoch).to.not.equal(before)
    const text = Buffer.concat(stream.written).toString()
    const firstNewId = text.split('\n').findIndex((line) => line.startsWith('id: ') && !line.includes(before))
    const reset = text.split('\n').findIndex((line) => line.includes('"channel":"b"'))
    expect(reset).to.be.above(-1)
    // The reset itself may have the id: the line `id:` comes before `event:`.
    expect(firstNewId).to.be.at.least(reset - 2)
  })

  it('let all channels take turns: no channel of a stream waits for a channel that is always busy', async () => {
    const setup = new Setup(10_000, { tailBytes: 1_000_000, tailEntries: 1000 })
    const { broker, stream } = setup
    const channels = ['a', 'b', 'c'].map(
      (name) => new Channel(name, broker, systemClock, { tailBytes: 1_000_000, tailEntries: 1000 }),
    )
    await Promise.all(channels.map((channel) => channel.open()))
    stream.grant(0)
    stream.allow(Number.POSITIVE_INFINITY)
    new StreamReader(stream, resumePositions(channels, undefined, false), NO_USER).begin()
    const publish = async (name: string) => {
      await broker.publish(name, encodePublished({ event: name, data: {} }))
      broker.deliver(1)
    }
    for (let i = 0; i < 30; i++) await publish('a')
    await publish('b')
    await publish('c')
    await soon()
    for (let turn = 0; turn < 6; turn++) {
      await publish('a')
      await soon()
      stream.grant(1)
    }
    const events = (stream.seen() as { event: string }[]).map(({ event }) => event)
    expect(events).to.have.length(6)
    expect(events).to.include.members(['b', 'c'])
  })
})
