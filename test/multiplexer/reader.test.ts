import assert from 'node:assert/strict'
import { expect } from 'chai'
import fc from 'fast-check'
import { systemClock } from '../../lib/core/system-clock.js'
import { Channel } from '../../lib/multiplexer/channel/channel.js'
import { StreamReader } from '../../lib/multiplexer/reader/stream-reader.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { range } from '../helpers/range.js'
import { NO_USER, OPTIONS, ORDINARY, run, Setup, SmallStream, soon, steps } from './reader-setup.js'

describe('a reader on a channel', () => {
  it('sends every entry once and in order, for any order of deliveries, answers and drains', async () => {
    await fc.assert(
      fc.asyncProperty(steps(ORDINARY), async (sequence) => {
        const setup = new Setup()
        await setup.open()
        await run(setup, sequence)
        expect(setup.stream.seen()).to.deep.equal(range(1, setup.published))
      }),
      { numRuns: 500 },
    )
  })

  it('sends every entry once and in order at any pace', async () => {
    await fc.assert(
      fc.asyncProperty(steps([...ORDINARY, 'grant', 'grant']), async (sequence) => {
        const setup = new Setup()
        setup.stream.grant(3)
        await setup.open()
        await run(setup, sequence)
        expect(setup.stream.seen()).to.deep.equal(range(1, setup.published))
      }),
      { numRuns: 500 },
    )
  })

  it('begins at any cursor, also ahead of the entries delivered here, and sends every entry after it', async () => {
    await fc.assert(
      fc.asyncProperty(steps(ORDINARY), steps(ORDINARY), fc.nat(), async (before, after, at) => {
        const setup = new Setup()
        await setup.open()
        for (const step of before) {
          if (step.do === 'publish') await setup.publish(step.count)
          else if (step.do === 'deliver') setup.broker.deliver(step.count)
        }
        const offset = at % (setup.published + 1)
        const starts = await setup.startsFrom(`${setup.channel.epoch}-${offset}`)
        const resumed = new SmallStream()
        new StreamReader(resumed, starts, NO_USER).begin()
        await run(setup, after)
        expect(resumed.seen()).to.deep.equal(range(offset + 1, setup.published))
        expect(setup.stream.seen(), 'the stream that was open before').to.deep.equal(range(1, setup.published))
      }),
      { numRuns: 500 },
    )
  })

  it('announces every lost entry, and sends every other entry', async () => {
    await fc.assert(
      fc.asyncProperty(steps(ORDINARY), async (sequence) => {
        const setup = new Setup(7)
        await setup.open()
        await run(setup, sequence)
        let next = 1
        for (const it of setup.stream.seen() as (number | { event: string; from: number; to: number })[]) {
          if (typeof it === 'number') {
            assert.equal(it, next)
            next++
          } else {
            expect(it).to.include({ event: 'sse.gap', from: next })
            next = it.to + 1
          }
        }
        expect(next).to.equal(setup.published + 1)
      }),
      { numRuns: 500 },
    )
  })

  it('announces that the log was lost, and then sends every entry of the new one', async () => {
    await fc.assert(
      fc.asyncProperty(steps([...ORDINARY, 'lose']), async (sequence) => {
        const setup = new Setup()
        await setup.open()
        await run(setup, sequence)
        // After the last reset, the last epoch of the log is complete. Before it, no event is out of order.
        await setup.publish(1)
        await setup.broker.interrupt('log')
        await setup.settle()
        const seen = setup.stream.seen()
        const lastReset = seen.findLastIndex((it) => typeof it !== 'number')
        const numbers = seen.filter((it) => typeof it === 'number')
        expect(numbers).to.deep.equal([...numbers].sort((a, b) => a - b))
        expect(new Set(numbers).size).to.equal(numbers.length)
        const [head] = await setup.whileReleasing(setup.broker.heads(['log']))
        const living = head?.offset ?? 0
        expect(seen.slice(lastReset + 1).slice(-living)).to.deep.equal(
          range(setup.published - living + 1, setup.published),
        )
      }),
      { numRuns: 500 },
    )
  })

  it('sends an entry of a new log that arrives while its channel recovers, without a later entry', async () => {
    const setup = new Setup()
    await setup.open()
    await setup.publish(3)
    setup.broker.deliver(3)
    await soon()
    // The reply is from the former log.
    await setup.broker.interrupt('log')
    setup.broker.lose()
    await setup.publish(1)
    setup.broker.deliver(1)
    await setup.settle()
    expect(setup.stream.seen()).to.deep.equal([
      1,
      2,
      3,
      { event: 'sse.reset', channel: 'log', reason: 'log_replaced' },
      4,
    ])
  })

  it('does not send a page of the former log that arrives after a reset', async () => {
    const setup = new Setup()
    const { broker, channel, stream } = setup
    // As long as a page of this one is under way, the reader does not go live.
    const other = new Channel('other', broker, systemClock, OPTIONS)
    const publish = async (name: string, numbers: readonly number[]): Promise<void> => {
      for (const data of numbers) await broker.publish(name, encodePublished({ data }))
    }
    await publish('log', range(1, 5))
    await publish('other', range(101, 105))
    await Promise.all([channel.open(), other.open()])
    const starts = [channel, other].map((each) => ({ channel: each, offset: 0 }))
    new StreamReader(stream, starts, NO_USER).begin()
    await soon()
    expect(broker.calls.reads).to.equal(2)
    broker.lose()
    await publish('log', range(6, 10))
    await broker.interrupt('log')
    // The head and the entries of the new log overtake the page of the former one.
    for (const reply of [2, 2]) {
      broker.release(reply)
      await soon()
    }
    await soon()
    expect(channel.flushed).to.equal(5)
    broker.release(0)
    await soon()
    await setup.settle()
    const seen = stream.seen().filter((it) => typeof it === 'number' && it < 100)
    expect(seen).to.deep.equal(range(6, 10))
  })

  it('costs no calls to the broker while entries arrive in order', async () => {
    const setup = new Setup()
    await setup.open()
    for (let i = 0; i < 50; i++) {
      await setup.publish(3)
      setup.broker.deliver(3)
      await soon()
    }
    expect(setup.stream.seen()).to.deep.equal(range(1, 150))
    expect(setup.broker.calls).to.deep.equal({ heads: 0, reads: 0 })
  })

  it('writes once for all entries of a tick', async () => {
    const setup = new Setup()
    await setup.open()
    await setup.publish(20)
    setup.broker.deliver(20)
    await soon()
    expect(setup.stream.written).to.have.length(1)
  })

  it('shares one read among all readers that need the same page', async () => {
    const setup = new Setup()
    await setup.channel.open()
    await setup.publish(200)
    setup.broker.deliver(200)
    await soon()
    const streams = range(1, 100).map(() => new SmallStream())
    for (const [i, stream] of streams.entries()) {
      new StreamReader(stream, await setup.startsFrom(`${setup.channel.epoch}-${i}`), NO_USER).begin()
    }
    await setup.settle()
    for (const [i, stream] of streams.entries()) expect(stream.seen()).to.deep.equal(range(i + 1, 200))
    expect(setup.broker.calls.reads).to.equal(1)
  })

  it('sends the same bytes to all readers that resume from the same position', async () => {
    const setup = new Setup()
    await setup.channel.open()
    await setup.publish(200)
    setup.broker.deliver(200)
    await soon()
    const streams = range(1, 3).map(() => new SmallStream())
    for (const [i, stream] of streams.entries()) {
      const starts = await setup.startsFrom(`${setup.channel.epoch}-${i === 2 ? 51 : 50}`)
      new StreamReader(stream, starts, NO_USER).begin()
    }
    await setup.settle()
    const [first, second, third] = streams.map(({ written }) => written[0])
    expect(first).to.equal(second)
    expect(first).to.not.equal(third)
    expect(streams.map((stream) => stream.seen().length)).to.deep.equal([150, 150, 149])
  })

  it('does not use pages of the log before a reset', async () => {
    const setup = new Setup()
    await setup.channel.open()
    const read = async (events: number): Promise<SmallStream> => {
      await setup.publish(events)
      setup.broker.deliver(events)
      await setup.settle()
      const stream = new SmallStream()
      new StreamReader(stream, await setup.startsFrom(`${setup.channel.epoch}-0`), NO_USER).begin()
      stream.allow(Number.POSITIVE_INFINITY)
      await setup.settle()
      return stream
    }
    expect((await read(200)).seen()).to.deep.equal(range(1, 200))
    setup.broker.lose()
    const { heads } = setup.broker.calls
    expect((await read(100)).seen()).to.deep.equal(range(201, 300))
    expect(setup.broker.calls.heads - heads).to.be.at.most(2)
  })
})
