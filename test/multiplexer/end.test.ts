import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import { EventSource } from 'eventsource'
import express from 'express'
import { Redis } from 'ioredis'
import { createEventStream } from '../../lib/client/index.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { createMultiplexer, type Multiplexer, ProcessMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { MultiplexerOptions } from '../../lib/multiplexer/options.js'
import { sseErrors } from '../../lib/routers/errors.js'
import type { PollAnswer } from '../../lib/wire/contract.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'
import { UnrulyBroker } from '../helpers/unruly-broker.js'
import { codeOf } from '../suites/broker.js'

let redis: RedisServer
before(async () => {
  redis = await RedisServer.start()
})
after(() => redis.stop())

for (const broker of ['memory', 'redis'] as const) {
  describe(`a channel that ends, on the broker ${broker}`, () => {
    let multiplexer: Multiplexer
    let server: TestServer
    let channel: string
    let number = 0
    let clients: SseClient[]

    async function start(options: MultiplexerOptions = {}): Promise<void> {
      const stream = { heartbeatMs: 0, retryMs: 10, ...options.stream }
      const url = broker === 'redis' ? redis.url : undefined
      multiplexer = createMultiplexer({ redis: url, lingerMs: 0, ...options, stream })
      const channelsOf = ({ query }: express.Request) => String(query.channels ?? channel).split(',')
      const app = express()
        .get('/', multiplexer.stream(channelsOf))
        .get('/poll', multiplexer.poll(channelsOf))
        .post('/pub', async (_req, res) => {
          await multiplexer.publish(channel, { data: 1 })
          res.end()
        })
        .use(sseErrors())
      server = await serve(app)
    }

    beforeEach(async () => {
      channel = `end:${broker}:${++number}`
      clients = []
      await start()
    })
    afterEach(stop)

    async function stop(): Promise<void> {
      for (const client of clients) client.close()
      await multiplexer.close()
      await server.stop()
    }

    async function open(path = '/', lastEventId?: string): Promise<SseClient> {
      const client = await SseClient.open(`${server.url}${path}`, lastEventId ? { 'last-event-id': lastEventId } : {})
      clients.push(client)
      if (client.status === 200) await client.control('sse.open')
      return client
    }

    async function publish(from: number, to: number): Promise<void> {
      await multiplexer.publishMany(
        channel,
        range(from, to).map((data) => ({ data })),
      )
    }

    const numbersOf = ({ messages }: SseClient): number[] => messages.map(({ data }) => Number(data))

    /** The client got these events and then the end, and nothing else. */
    async function expectEnd(client: SseClient, numbers: readonly number[]): Promise<void> {
      await client.ended()
      expect(numbersOf(client)).to.deep.equal(numbers)
      const { data, event } = client.events.at(-1) ?? {}
      expect([event, data]).to.deep.equal(['sse.close', '{"reason":"completed"}'])
      expect(client.events.some(({ event }) => event === 'sse.gap' || event === 'sse.reset')).to.equal(false)
    }

    it('closes its streams after the last event', async () => {
      const [one, other] = [await open(), await open()]
      await publish(1, 3)
      const end = await multiplexer.end(channel, { data: 4 })
      expect(end.offset).to.equal(4)
      for (const client of [one, other]) await expectEnd(client, range(1, 4))
      expect(multiplexer.status().streams).to.equal(0)
      await eventually(() => multiplexer.status().channels === 0)
    })

    it('closes its streams without a last event', async () => {
      const client = await open()
      await publish(1, 2)
      await multiplexer.end(channel)
      await expectEnd(client, [1, 2])
    })

    it('replays what there is to streams that open later, from where they are, and closes them', async () => {
      await publish(1, 5)
      const { epoch } = await multiplexer.end(channel, { data: 6 })
      await expectEnd(await open(), range(1, 6))
      await expectEnd(await open('/?from=earliest'), range(1, 6))
      await expectEnd(await open('/', `${epoch}-4`), [5, 6])
      await expectEnd(await open('/', `${epoch}-6`), [])
      const wrong = await open('/', 'zzzzzz-9')
      await wrong.ended()
      expect(wrong.events.map(({ event }) => event)).to.deep.equal(['sse.open', 'sse.reset', 'sse.close'])
    })

    it('closes a native EventSource for good', async () => {
      const source = new EventSource(server.url)
      const received: string[] = []
      source.onmessage = ({ data }) => received.push(data)
      await eventually(() => multiplexer.status().streams === 1)
      await publish(1, 2)
      await multiplexer.end(channel, { data: 3 })
      await eventually(() => source.readyState === EventSource.CLOSED)
      expect(received).to.deep.equal(['1', '2', '3'])
    })

    it('gives a slow client everything first', async () => {
      const client = await open()
      client.pause()
      const data = 'x'.repeat(10_000)
      for (let n = 0; n < 10; n++) {
        await multiplexer.publishMany(
          channel,
          range(1, 100).map(() => ({ data })),
        )
        await sleep(5)
      }
      await multiplexer.end(channel, { data: 'last' })
      await sleep(50)
      client.resume()
      await client.ended()
      expect(client.messages).to.have.length(1001)
      expect(client.messages.at(-1)?.data).to.equal('last')
      expect(client.events.at(-1)?.event).to.equal('sse.close')
    })

    for (const queuePolicy of ['replay', 'drop-oldest', 'disconnect'] as const) {
      it(`gives a paced client with the policy ${queuePolicy} everything first`, async () => {
        await stop()
        const pacing = createPacing({ stream: { capacity: 2, refillPerSecond: 200 } })
        await start({ stream: { pacing, queuePolicy } })
        const client = await open()
        await publish(1, 20)
        await multiplexer.end(channel, { data: 21 })
        await expectEnd(client, range(1, 21))
      })
    }

    it('gets no ephemeral event after its end, also on a stream that stays open', async () => {
      const other = `${channel}:other`
      const client = await open(`/?channels=${channel},${other}`)
      await multiplexer.end(channel, { data: 1 })
      await multiplexer.publish(channel, { data: 2, ephemeral: true }).catch(() => undefined)
      await multiplexer.publish(other, { data: 3 })
      await client.messagesUntil(2)
      expect(numbersOf(client)).to.deep.equal([1, 3])
    })

    it('closes a stream on several channels when all have ended', async () => {
      const other = `${channel}:other`
      const client = await open(`/?channels=${channel},${other}`)
      await multiplexer.end(channel, { data: 1 })
      await client.messagesUntil(1)
      await multiplexer.publish(other, { data: 2 })
      await client.messagesUntil(2)
      const late = await open(`/?channels=${channel},${other}`)
      expect(multiplexer.status().streams).to.equal(2)
      await multiplexer.end(other, { data: 3 })
      await expectEnd(client, [1, 2, 3])
      // One of its channels was open, so it began at the heads.
      await expectEnd(late, [3])
      const replayed = await open(`/?channels=${channel},${other}`)
      await replayed.ended()
      expect(numbersOf(replayed).sort()).to.deep.equal([1, 2, 3])
    })

    it('answers polls with the rest and the end', async () => {
      const poll = async (query = ''): Promise<PollAnswer> =>
        (await (await fetch(`${server.url}/poll?${query}`)).json()) as PollAnswer
      await publish(1, 2)
      const first = await poll('from=earliest')
      expect(first).not.to.have.property('ended')
      const waiting = poll(`cursor=${first.cursor}&wait=20000`)
      await eventually(() => multiplexer.status().channels === 1)
      await sleep(20)
      await multiplexer.end(channel, { data: 3 })
      const last = await waiting
      // The event may arrive one turn before the end.
      expect(last.events.map(({ data }) => data)).to.deep.equal(['3'])
      const atEnd = await poll(`cursor=${last.cursor}&wait=20000`)
      expect(atEnd).to.deep.include({ events: [], ended: true, cursor: last.cursor })
      const all = await poll()
      expect(all.events.map(({ data }) => data)).to.deep.equal(['1', '2', '3'])
      expect(all.ended).to.equal(true)
    })

    it('ends an iteration', async () => {
      await publish(1, 2)
      const read: string[] = []
      const reading = (async () => {
        for await (const { data } of multiplexer.read(channel, { from: 'earliest' })) read.push(data)
      })()
      await eventually(() => read.length === 2)
      await multiplexer.end(channel, { data: 3 })
      await reading
      expect(read).to.deep.equal(['1', '2', '3'])
      const again: string[] = []
      for await (const { data } of multiplexer.read(channel)) again.push(data)
      expect(again).to.deep.equal(read)
    })

    it('ends the kit’s client as completed, on a stream and while it polls', async () => {
      await publish(1, 2)
      const stream = createEventStream(`${server.url}/?from=earliest`)
      const read: string[] = []
      const reading = (async () => {
        for await (const event of stream) if (!event.type.startsWith('sse.')) read.push(event.data)
      })()
      await eventually(() => read.length === 2)
      await multiplexer.end(channel, { data: '3' })
      await reading
      expect(read).to.deep.equal(['1', '2', '3'])
      expect(stream.status).to.include({ state: 'closed', reason: 'completed' })

      const silent = await serve(() => undefined)
      const polling = createEventStream(silent.url, { pollUrl: `${server.url}/poll`, openTimeoutMs: 50, retryMs: 10 })
      const polled: string[] = []
      for await (const event of polling) if (!event.type.startsWith('sse.')) polled.push(event.data)
      expect(polled).to.deep.equal(['1', '2', '3'])
      expect(polling.status).to.include({ state: 'closed', reason: 'completed' })
      await silent.stop()
    })

    it('refuses what is published later, with 409 where a client asked for it', async () => {
      await multiplexer.end(channel)
      expect(await codeOf(multiplexer.publish(channel, { data: 1 }))).to.equal('ERR_SSE_CHANNEL_ENDED')
      const answer = await fetch(`${server.url}/pub`, { method: 'POST' })
      expect(answer.status).to.equal(409)
      expect(await answer.json()).to.include({ code: 'ERR_SSE_CHANNEL_ENDED' })
      expect(await multiplexer.end(channel, { data: 1 })).to.include({ offset: 0 })
    })

    it('refuses a wrong channel or event, and ends nothing', async () => {
      for (const event of [null, false, '', 0]) {
        expect(await codeOf(multiplexer.end(channel, event as never))).to.equal('ERR_SSE_EVENT_INVALID')
      }
      expect(await codeOf(multiplexer.end('a b'))).to.equal('ERR_SSE_CHANNEL_INVALID')
      expect(await codeOf(multiplexer.end(channel, { event: 'sse.x', data: 1 }))).to.equal('ERR_SSE_EVENT_INVALID')
      await publish(1, 1)
    })

    it('closes streams also if its history has expired, without a gap', async () => {
      await stop()
      await start({ historyTtlMs: 50, metaTtlMs: 60_000 })
      const { epoch } = await multiplexer.end(channel, { data: 1 })
      await sleep(100)
      await expectEnd(await open('/', `${epoch}-1`), [])
    })
  })
}

describe('a channel that ends while its head is requested', () => {
  for (const last of [undefined, { data: 3 }]) {
    it(`ends for all, although the reply is older, ${last ? 'with' : 'without'} a last event`, async () => {
      const broker = new UnrulyBroker()
      const multiplexer = new ProcessMultiplexer(broker, { lingerMs: 0 }, systemClock)
      const until = async (condition: () => boolean) => eventually(async () => condition())
      await multiplexer.publish('log', { data: 1 })
      const first = multiplexer.read('log', { from: 'earliest' })
      const data: string[] = []
      const reading = (async () => {
        for await (const item of first) data.push(item.data)
      })()
      await until(() => broker.calls.reads === 1)
      broker.release()
      await until(() => data.length === 1)
      const { epoch } = await multiplexer.publish('log', { data: 2 })
      // This process has not received the event of its cursor, so it requests the head.
      const second = multiplexer.read('log', { after: `${epoch}-2` })
      const next = second.next()
      await until(() => broker.calls.heads === 1)
      await multiplexer.end('log', last)
      broker.deliver(3)
      broker.release()
      await reading
      expect(data).to.deep.equal(last ? ['1', '2', '3'] : ['1', '2'])
      const item = await next
      expect(item.done ? 'done' : item.value.data).to.equal(last ? '3' : 'done')
      expect(await second.next()).to.deep.equal({ done: true, value: undefined })
      await multiplexer.close()
    })
  }
})

describe('a channel that ends, in several processes', () => {
  let admin: Redis
  let multiplexers: Multiplexer[]

  beforeEach(() => {
    admin = new Redis(redis.url)
    multiplexers = range(1, 2).map(() => createMultiplexer({ redis: redis.url }))
  })
  afterEach(async () => {
    admin.disconnect()
    for (const multiplexer of multiplexers) await multiplexer.close()
  })

  it('ends where it is followed, also if the connection was lost meanwhile', async () => {
    const [publisher, follower] = multiplexers as [Multiplexer, Multiplexer]
    await publisher.publish('shared', { data: 1 })
    const items = follower.read('shared', { from: 'earliest' })
    expect((await items.next()).value?.data).to.equal('1')
    await admin.client('KILL', 'TYPE', 'pubsub')
    await publisher.end('shared', { data: 2 })
    expect((await items.next()).value?.data).to.equal('2')
    expect(await items.next()).to.deep.equal({ done: true, value: undefined })
    expect(await codeOf(follower.publish('shared', { data: 3 }))).to.equal('ERR_SSE_CHANNEL_ENDED')
  })

  it('ends where it is followed when it is ended again, if nobody was notified of the first time', async () => {
    const [publisher, follower] = multiplexers as [Multiplexer, Multiplexer]
    await publisher.publish('unnoticed', { data: 1 })
    const items = follower.read('unnoticed', { from: 'earliest' })
    expect((await items.next()).value?.data).to.equal('1')
    // As after an end whose notification and undo were both refused.
    await admin.hset('sse:{unnoticed}:m', 'x', '1')
    expect(await publisher.end('unnoticed', { data: 2 })).to.include({ offset: 1 })
    expect(await items.next()).to.deep.equal({ done: true, value: undefined })
  })

  it('begins again if Redis has lost its log', async () => {
    const [publisher, follower] = multiplexers as [Multiplexer, Multiplexer]
    const end = await publisher.end('lost', { data: 1 })
    await admin.flushall()
    const position = await follower.publish('lost', { data: 2 })
    expect(position.offset).to.equal(1)
    expect(position.epoch).not.to.equal(end.epoch)
    const items = publisher.read('lost', { after: `${end.epoch}-1` })
    expect((await items.next()).value?.event).to.equal('sse.reset')
    await items.return?.()
  })
})
