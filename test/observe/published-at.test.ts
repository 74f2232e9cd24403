import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { Broker } from '../../lib/broker/broker.js'
import { MemoryBroker } from '../../lib/broker/memory.js'
import { RedisBroker } from '../../lib/broker/redis/broker.js'
import { ephemeralMessage, parseLogged, parseMessage, printPayload } from '../../lib/broker/redis/payload.js'
import type { EncodedEvent, LogEntry } from '../../lib/core/message.js'
import { delayOf } from '../../lib/core/message.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { RedisServer } from '../helpers/redis-server.js'
import { Recorder } from '../suites/broker.js'

const TRACE = `${'a'.repeat(32)}-${'b'.repeat(16)}`

describe('the time of publishing', () => {
  const events = [
    encodePublished({ data: 1, key: 'k', ttlMs: 5 }),
    { ...encodePublished({ data: 2, priority: 'low' }), trace: TRACE },
    { ...encodePublished({ data: 3, key: 'k' }), trace: TRACE },
  ]

  it('is written once for all events of a call; traces are written only for traced events', () => {
    const [line] = printPayload(events, 1_700_000_000_000.7).split('\n')
    expect(line).to.equal(`@loyw3v28;9 n 5 k;9 l 0  ${TRACE};9 n 0 k ${TRACE}`)
  })

  it('is read with every entry of a message and of a log', () => {
    const payload = Buffer.from(printPayload(events, 1_700_000_000_000))
    const message = parseMessage(Buffer.concat([Buffer.from('abcdef 7\n'), payload]))
    expect(message).to.deep.equal({ entries: parseLogged('abcdef', 9, payload), end: undefined })
    expect(
      message?.entries.map(({ offset, key, publishedAt, trace }) => [offset, key, publishedAt, trace]),
    ).to.deep.equal([
      [7, 'k', 1_700_000_000_000, undefined],
      [8, undefined, 1_700_000_000_000, TRACE],
      [9, 'k', 1_700_000_000_000, TRACE],
    ])
    const ephemerals = [encodePublished({ data: 1, ephemeral: true })]
    const ephemeral = parseMessage(Buffer.from(ephemeralMessage(ephemerals, 42)))
    expect(ephemeral?.entries[0]).to.include({ offset: 0, publishedAt: 42 })
  })

  it('may be absent: entries of an older format can be read', () => {
    const old = Buffer.from('9 n 5 k;9 l 0 \ndata: 1\n\ndata: 2\n\n')
    expect(parseLogged('abcdef', 9, old)).to.deep.equal([
      entry({ offset: 8, body: Buffer.from('data: 1\n\n'), key: 'k', ttlMs: 5 }),
      entry({ offset: 9, body: Buffer.from('data: 2\n\n'), priority: 'low' }),
    ])
    expect(delayOf(entry({}), 1000)).to.equal(undefined)
  })

  it('never yields a negative delay, even if clocks differ', () => {
    expect(delayOf(entry({ publishedAt: 1000 }), 1250)).to.equal(250)
    expect(delayOf(entry({ publishedAt: 1000 }), 900)).to.equal(0)
  })

  describe('with a broker', () => {
    let redis: RedisServer
    before(async () => {
      redis = await RedisServer.start()
    })
    after(() => redis.stop())

    it('is the same for events published together: embedded', async () => {
      const clock = new FakeClock()
      const broker = new MemoryBroker({}, clock)
      const first = clock.wallTime()
      expect(await publishTwice(broker, () => clock.advance(500))).to.deep.equal([first, first, first + 500])
    })

    it('is the same for events published together: over Redis', async () => {
      const broker = new RedisBroker({ redis: redis.url }, systemClock)
      const before = Date.now()
      const [first = 0, second, third = 0] = await publishTwice(broker)
      expect(first).to.be.within(before, Date.now())
      expect(second).to.equal(first)
      expect(third).to.be.within(first, Date.now())
    })

    it('is optional: entries of another version without it can be read', async () => {
      const broker = new RedisBroker({ redis: redis.url }, systemClock)
      const [head] = await broker.heads(['old'])
      const client = new Redis(redis.url)
      await client.hset('sse:{old}:m', 'o', 1)
      await client.xadd('sse:{old}:s', '1-0', 'p', '9 n 0 \ndata: 1\n\n', 'i', 'x')
      const { entries } = await broker.read('old', 0, 10)
      expect(entries).to.have.length(1)
      expect(entries[0]).to.include({ epoch: head?.epoch, offset: 1, publishedAt: undefined, trace: undefined })
      client.disconnect()
      await broker.close()
    })
  })
})

function entry(given: Partial<LogEntry>): LogEntry {
  return {
    ...{ epoch: 'abcdef', offset: 1, body: Buffer.alloc(0), priority: 'normal' as const },
    ...{ key: undefined, ttlMs: undefined, publishedAt: undefined, trace: undefined, ...given },
  }
}

/**
 * The times of two events published as one step and a third event, as received by a subscriber and as read from
 * history.
 */
async function publishTwice(broker: Broker, pause: () => void = () => undefined): Promise<(number | undefined)[]> {
  const event = (data: number): EncodedEvent => encodePublished({ data })
  const recorder = new Recorder()
  await broker.subscribe('together', recorder)
  await broker.publishMany('together', [event(1), event(2)])
  pause()
  await broker.publish('together', event(3))
  await recorder.until(3)
  const times = recorder.entries.map(({ publishedAt }) => publishedAt)
  const { entries } = await broker.read('together', 0, 10)
  expect(entries.map(({ publishedAt }) => publishedAt)).to.deep.equal(times)
  await broker.close()
  return times
}
