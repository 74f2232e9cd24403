import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { Redis } from 'ioredis'
import type { HistoryPage } from '../../lib/broker/broker.js'
import { MemoryBroker } from '../../lib/broker/memory.js'
import type { SseError } from '../../lib/core/errors.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { createMultiplexer, type Multiplexer, ProcessMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { MultiplexerOptions } from '../../lib/multiplexer/options.js'
import type { PolledEvent } from '../../lib/wire/contract.js'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'

class CountingBroker extends MemoryBroker {
  reads = 0

  override read(channel: string, after: number, limit: number, maxBytes?: number): Promise<HistoryPage> {
    this.reads++
    return super.read(channel, after, limit, maxBytes)
  }
}

type Iterated = AsyncIterableIterator<PolledEvent>

/** The next items, as `data` of events and names of control events. */
async function take(items: Iterated, count: number): Promise<string[]> {
  const taken: string[] = []
  while (taken.length < count) {
    const { value, done } = await items.next()
    if (done === true) break
    taken.push(value.event.startsWith('sse.') ? value.event : value.data)
  }
  return taken
}

const texts = (from: number, to: number): string[] => range(from, to).map(String)
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail('it did not fail'),
    (error: SseError) => error,
  )

let redis: RedisServer
before(async () => {
  redis = await RedisServer.start()
})
after(() => redis.stop())

for (const broker of ['memory', 'redis'] as const) {
  describe(`reading the log of a channel in a program, on the broker ${broker}`, () => {
    let multiplexer: Multiplexer
    let channel: string
    let number = 0

    const start = (options: MultiplexerOptions = {}): Multiplexer =>
      createMultiplexer({ redis: broker === 'redis' ? redis.url : undefined, lingerMs: 0, ...options })

    beforeEach(() => {
      channel = `read:${broker}:${++number}`
      multiplexer = start()
    })
    afterEach(() => multiplexer.close())

    async function publish(from: number, to: number, on = channel): Promise<void> {
      for (let n = from; n <= to; n += 500) {
        await multiplexer.publishMany(
          on,
          range(n, Math.min(to, n + 499)).map((data) => ({ data })),
        )
      }
    }

    it('begins with the kept events, and continues with live ones', async () => {
      await publish(1, 3)
      const items = multiplexer.read(channel, { from: 'earliest' })
      expect(await take(items, 3)).to.deep.equal(texts(1, 3))
      const next = items.next()
      const { epoch } = await multiplexer.publish(channel, { event: 'order', data: { id: 7 } })
      expect(await next).to.deep.equal({
        done: false,
        value: { id: `${epoch}-4`, event: 'order', data: '{"id":7}' },
      })
      await items.return?.()
    })

    it('begins with new events, or after a cursor', async () => {
      await publish(1, 5)
      const cursor = await multiplexer.cursor(channel)
      const [fresh, after] = [
        multiplexer.read(channel),
        multiplexer.read(channel, { after: cursor.replace('-5', '-2') }),
      ]
      const next = fresh.next()
      expect(await take(after, 3)).to.deep.equal(texts(3, 5))
      await eventually(() => multiplexer.status().channels === 1)
      await sleep(20)
      await publish(6, 7)
      expect((await next).value).to.include({ data: '6' })
      expect(await take(fresh, 1)).to.deep.equal(['7'])
      const { value } = await after.next()
      const again = multiplexer.read(channel, { after: value?.id, from: 'head' })
      expect(await take(again, 1)).to.deep.equal(['7'])
      for (const items of [fresh, after, again]) await items.return?.()
    })

    it('loses nothing if the program is slow', async () => {
      await multiplexer.close()
      multiplexer = start({ historySize: 10_000, tailEntries: 10 })
      const items = multiplexer.read(channel, { from: 'earliest' })
      const first = items.next()
      await publish(1, 4000)
      expect((await first).value?.data).to.equal('1')
      expect(await take(items, 2000)).to.deep.equal(texts(2, 2001))
      await publish(4001, 4010)
      expect(await take(items, 2009)).to.deep.equal(texts(2002, 4010))
      await items.return?.()
    })

    it('has a gap where the program was too slow', async () => {
      await multiplexer.close()
      multiplexer = start({ historySize: 1000, tailEntries: 10 })
      await publish(1, 1)
      const items = multiplexer.read(channel, { from: 'earliest' })
      expect(await take(items, 1)).to.deep.equal(['1'])
      await publish(2, 5000)
      const taken = await take(items, 600)
      expect(taken).to.include('sse.gap')
      const numbers = taken.filter((text) => text !== 'sse.gap').map(Number)
      expect(numbers).to.deep.equal([...numbers].sort((a, b) => a - b))
      expect(new Set(numbers).size).to.equal(numbers.length)
      await items.return?.()
    })

    it('takes several channels, and each id has all positions', async () => {
      const other = `${channel}:other`
      const items = multiplexer.read([channel, other], { after: await multiplexer.cursor([channel, other]) })
      await publish(1, 1)
      await publish(2, 2, other)
      await publish(3, 3)
      const ids: (string | undefined)[] = []
      const data: string[] = []
      for await (const item of items) {
        ids.push(item.id?.replace(/[a-z0-9]+-/g, ''))
        data.push(item.data)
        if (data.length === 3) break
      }
      expect([...data].sort()).to.deep.equal(['1', '2', '3'])
      expect(ids.at(-1)).to.equal('2.1')
      const after = multiplexer.read([other, channel], { after: await multiplexer.cursor([channel, other]) })
      const next = after.next()
      await publish(4, 4)
      expect((await next).value).to.include({ data: '4' })
      await after.return?.()
    })

    it('gets ephemeral events, without an id', async () => {
      const items = multiplexer.read(channel)
      const next = items.next()
      await eventually(() => multiplexer.status().channels === 1)
      await sleep(50)
      await multiplexer.publish(channel, { event: 'typing', data: 1, ephemeral: true })
      expect(await next).to.deep.equal({ done: false, value: { event: 'typing', data: '1' } })
      await items.return?.()
    })

    it('releases its channel at the end, and is read once', async () => {
      await publish(1, 2)
      const items = multiplexer.read(channel, { from: 'earliest' })
      expect(multiplexer.status().channels).to.equal(0)
      for await (const { data } of items) if (data === '2') break
      await eventually(() => multiplexer.status().channels === 0)
      expect(await items.next()).to.deep.equal({ done: true, value: undefined })
      expect(await take(items, 1)).to.deep.equal([])
      const failing = multiplexer.read(channel, { from: 'earliest' })
      await failing.next()
      const fault = new Error('thrown by the program')
      expect(await failureOf(failing.throw?.(fault) as Promise<unknown>)).to.equal(fault)
      await eventually(() => multiplexer.status().channels === 0)
    })

    it('answers requests in order, also if several are made at once', async () => {
      const items = multiplexer.read(channel, { from: 'earliest' })
      const requests = Promise.all(range(1, 5).map(() => items.next()))
      await publish(1, 5)
      expect((await requests).map(({ value }) => value?.data)).to.deep.equal(texts(1, 5))
      const waiting = Promise.all([items.next(), items.next()])
      await items.return?.()
      expect(await waiting).to.deep.equal([
        { done: true, value: undefined },
        { done: true, value: undefined },
      ])
    })

    it('ends before it has begun', async () => {
      const items = multiplexer.read(channel)
      await items.return?.()
      expect(await items.next()).to.deep.equal({ done: true, value: undefined })
      const opening = multiplexer.read(channel)
      const next = opening.next()
      await opening.return?.()
      expect(await next).to.deep.equal({ done: true, value: undefined })
      await eventually(() => multiplexer.status().channels === 0)
    })

    it('is rejected with the reason of its signal', async () => {
      const controller = new AbortController()
      const { signal } = controller
      const items = multiplexer.read(channel, { signal, from: 'earliest' })
      await publish(1, 3)
      expect(await take(items, 1)).to.deep.equal(['1'])
      const reason = new Error('enough')
      controller.abort(reason)
      expect(await failureOf(items.next())).to.equal(reason)
      expect(await items.next()).to.deep.equal({ done: true, value: undefined })
      expect(await failureOf(multiplexer.read(channel, { signal }).next())).to.equal(reason)
      const waiting = new AbortController()
      const next = multiplexer.read(channel, { signal: waiting.signal }).next()
      await sleep(20)
      waiting.abort()
      expect((await failureOf(next)).name).to.equal('AbortError')
      await eventually(() => multiplexer.status().channels === 0)
    })

    it('is rejected when the multiplexer closes: the log has not ended', async () => {
      const next = multiplexer.read(channel).next()
      const items = multiplexer.read(channel, { from: 'earliest' })
      await publish(1, 1)
      expect(await take(items, 1)).to.deep.equal(['1'])
      const closed = multiplexer.close()
      expect((await failureOf(next)).code).to.equal('ERR_SSE_CLOSED')
      expect((await failureOf(items.next())).code).to.equal('ERR_SSE_CLOSED')
      await closed
      expect((await failureOf(multiplexer.read(channel).next())).code).to.equal('ERR_SSE_CLOSED')
    })

    it('refuses wrong options at once', () => {
      for (const [options, code] of [
        [{ after: 'not a cursor' }, 'ERR_SSE_OPTION_INVALID'],
        [{ after: '' }, 'ERR_SSE_OPTION_INVALID'],
        [{ from: 'latest' }, 'ERR_SSE_OPTION_INVALID'],
        [{ signal: {} }, 'ERR_SSE_OPTION_INVALID'],
      ] as const) {
        expect(() => multiplexer.read(channel, options as never))
          .to.throw()
          .with.property('code', code)
      }
      expect(() => multiplexer.read('a b'))
        .to.throw()
        .with.property('code', 'ERR_SSE_CHANNEL_INVALID')
    })
  })
}

describe('reading a log in a program', () => {
  it('loses nothing when the connection to Redis is lost, and announces a log that was replaced', async () => {
    const own = await RedisServer.start()
    const admin = new Redis(own.url)
    const multiplexer = createMultiplexer({ redis: own.url })
    try {
      const items = multiplexer.read('log', { from: 'earliest' })
      const first = items.next()
      await multiplexer.publish('log', { data: 1 })
      expect((await first).value?.data).to.equal('1')
      await admin.client('KILL', 'TYPE', 'pubsub')
      await multiplexer.publish('log', { data: 2 })
      expect(await take(items, 1)).to.deep.equal(['2'])
      await admin.flushall()
      await multiplexer.publish('log', { data: 3 })
      expect(await take(items, 2)).to.deep.equal(['sse.reset', '3'])
      await items.return?.()
    } finally {
      admin.disconnect()
      await multiplexer.close()
      await own.stop()
    }
  })

  it('is rejected if the log cannot be opened, and can be tried again', async () => {
    const own = await RedisServer.start()
    const multiplexer = createMultiplexer({ redis: own.url, commandTimeoutMs: 300 })
    try {
      await eventually(() => multiplexer.status().state === 'ready')
      own.pause()
      const error = await failureOf(multiplexer.read('log').next())
      expect(error.code).to.match(/^ERR_SSE_BROKER_/)
      const controller = new AbortController()
      const next = multiplexer.read('log', { signal: controller.signal }).next()
      controller.abort()
      expect((await failureOf(next)).name).to.equal('AbortError')
      own.resume()
      await eventually(async () => {
        const items = multiplexer.read('log', { from: 'earliest' })
        const next = items.next().catch(() => undefined)
        await multiplexer.publish('log', { data: 1 }).catch(() => undefined)
        const item = await next
        await items.return?.()
        return item?.value?.data === '1'
      })
    } finally {
      own.resume()
      await multiplexer.close()
      await own.stop()
    }
  })

  it('reads ahead at most a page of events, however many there are', async () => {
    const broker = new CountingBroker({ historySize: 10_000 }, systemClock)
    const multiplexer = new ProcessMultiplexer(broker, { tailEntries: 0, lingerMs: 0 }, systemClock)
    for (let n = 1; n <= 4000; n++) await multiplexer.publish('log', { data: n })
    const items = multiplexer.read('log', { from: 'earliest' })
    expect(await take(items, 1)).to.deep.equal(['1'])
    await sleep(20)
    expect(broker.reads).to.equal(1)
    expect(await take(items, 3999)).to.deep.equal(texts(2, 4000))
    expect(broker.reads).to.equal(16)
    await items.return?.()
    await multiplexer.close()
  })
})
