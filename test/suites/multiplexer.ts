import { expect } from 'chai'
import express from 'express'
import { diagnostics } from '../../lib/core/diagnostics.js'
import type { Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { MultiplexerOptions } from '../../lib/multiplexer/options.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'

/** Serves one route: `/?channel=a&channel=b` streams these channels. */
export async function serveChannels(multiplexer: Multiplexer): Promise<TestServer> {
  const app = express()
  app.get(
    '/',
    multiplexer.stream((req) => new URLSearchParams(req.url.slice(2)).getAll('channel')),
  )
  return serve(app)
}

export function numbersOf({ messages }: SseClient): number[] {
  return messages.map(({ data }) => Number.parseInt(data, 10))
}

/** The guarantees of the multiplexer on every broker. */
export function multiplexerSuite(name: string, create: (options?: MultiplexerOptions) => Multiplexer): void {
  describe(`the multiplexer on ${name}`, () => {
    let multiplexer: Multiplexer
    let server: TestServer
    let clients: SseClient[]
    let channel: string
    let channelNumber = 0

    beforeEach(async () => {
      clients = []
      channel = `mux:${name}:${++channelNumber}`
      await start()
    })
    afterEach(stop)

    async function start(options?: MultiplexerOptions): Promise<void> {
      multiplexer = create({ lingerMs: 0, ...options })
      server = await serveChannels(multiplexer)
    }

    async function stop(): Promise<void> {
      for (const client of clients) client.close()
      await multiplexer.close()
      await server.stop()
    }

    async function restart(options: MultiplexerOptions): Promise<void> {
      await stop()
      await start(options)
    }

    async function open(query = `channel=${channel}`, lastEventId?: string): Promise<SseClient> {
      const headers: Record<string, string> = lastEventId === undefined ? {} : { 'last-event-id': lastEventId }
      const client = await SseClient.open(`${server.url}/?${query}`, headers)
      clients.push(client)
      if (client.status === 200) await client.control('sse.open')
      return client
    }

    async function publish(numbers: readonly number[], to = channel, padding = ''): Promise<void> {
      await Promise.all(numbers.map((n) => multiplexer.publish(to, { event: 'n', data: `${n}${padding}` })))
    }

    it('sends a published event to all streams of its channel, with its position as id', async () => {
      const [a, b] = [await open(), await open()]
      const other = await open(`channel=${channel}:other`)
      const position = await multiplexer.publish(channel, { event: 'order', data: { id: 7 } })
      await Promise.all([a.messagesUntil(1), b.messagesUntil(1)])
      const expected = [{ event: 'order', data: '{"id":7}', id: `${position.epoch}-${position.offset}` }]
      expect(a.messages).to.deep.equal(expected)
      expect(b.messages).to.deep.equal(expected)
      await multiplexer.publish(`${channel}:other`, { data: 'own' })
      await other.messagesUntil(1)
      expect(other.messages.map(({ data }) => data)).to.deep.equal(['own'])
    })

    it('subscribes once per channel for any number of streams, and unsubscribes with the last', async () => {
      const streams = await Promise.all(range(1, 20).map(() => open()))
      expect(multiplexer.status()).to.deep.include({ streams: 20, channels: 1 })
      for (const stream of streams) stream.close()
      await eventually(() => multiplexer.status().streams === 0)
      expect(multiplexer.status()).to.deep.include({ streams: 0, channels: 0 })
      const again = await open()
      await publish([1])
      await again.messagesUntil(1)
    })

    it('keeps the subscription for lingerMs after the last stream, for clients that reconnect', async () => {
      await restart({ lingerMs: 150 })
      for (let turn = 0; turn < 3; turn++) {
        const client = await open()
        expect(multiplexer.status()).to.deep.include({ streams: 1, channels: 1 })
        client.close()
        await eventually(() => multiplexer.status().streams === 0)
        expect(multiplexer.status().channels).to.equal(1)
        await new Promise((resolve) => setTimeout(resolve, 60))
      }
      await publish([1, 2])
      const back = await open('from=earliest&channel='.concat(channel))
      await back.messagesUntil(2)
      back.close()
      await eventually(() => multiplexer.status().channels === 0)
    })

    it('sends its position first, so a client that disconnects before the first event misses nothing', async () => {
      const first = await open()
      const { lastEventId } = first
      expect(lastEventId).to.match(/^[a-z0-9]{6}-0$/)
      expect(first.raw).to.match(/^retry: 3000\nid: .*\nevent: sse\.open\n/)
      first.close()
      await publish(range(1, 3))
      const second = await open(undefined, lastEventId)
      await second.messagesUntil(3)
      expect(numbersOf(second)).to.deep.equal([1, 2, 3])
    })

    it('resumes in the middle of 1,000 events: each arrives once and in order', async () => {
      const first = await open()
      await publish(range(1, 500))
      await first.messagesUntil(300)
      const had = numbersOf(first)
      first.close()
      await publish(range(501, 900))
      const second = await open(undefined, first.lastEventId)
      await publish(range(901, 1000))
      await second.messagesUntil(1000 - had.length)
      expect([...had, ...numbersOf(second)]).to.deep.equal(range(1, 1000))
      expect(second.events.map(({ event }) => event)).to.not.include('sse.gap')
    })

    it('resumes from ?last_event_id= as well, but prefers the header', async () => {
      const first = await open()
      await publish(range(1, 10))
      await first.messagesUntil(10)
      const at = (offset: number): string => first.lastEventId.replace(/\d+$/, String(offset))
      const byQuery = await open(`channel=${channel}&last_event_id=${at(7)}`)
      await byQuery.messagesUntil(3)
      expect(numbersOf(byQuery)).to.deep.equal([8, 9, 10])
      const byOther = await open(`channel=${channel}&lastEventId=${at(8)}`)
      await byOther.messagesUntil(2)
      expect(numbersOf(byOther)).to.deep.equal([9, 10])
      const byBoth = await open(`channel=${channel}&last_event_id=${at(2)}`, at(9))
      await byBoth.messagesUntil(1)
      expect(numbersOf(byBoth)).to.deep.equal([10])
    })

    it('keeps the order of logged and ephemeral events of one call', async () => {
      const client = await open()
      const events = range(1, 20).map((n) => ({ data: n, ephemeral: n % 3 === 0 }))
      await multiplexer.publishMany(channel, events)
      await client.messagesUntil(20)
      expect(numbersOf(client)).to.deep.equal(range(1, 20))
    })

    it('begins at the head without a cursor, and at the oldest event with ?from=earliest', async () => {
      await restart({ historySize: 100 })
      await publish(range(1, 400))
      // A call removes what was too old before it.
      await publish(range(401, 500))
      const head = await open()
      const earliest = await open(`channel=${channel}&from=earliest`)
      await publish([501])
      await Promise.all([head.messagesUntil(1), earliest.until((client) => numbersOf(client).at(-1) === 501)])
      expect(numbersOf(head)).to.deep.equal([501])
      const numbers = numbersOf(earliest)
      expect(numbers.length).to.be.within(101, 300)
      expect(numbers).to.deep.equal(range(501 - numbers.length + 1, 501))
      expect(earliest.events.map(({ event }) => event)).to.not.include('sse.gap')
    })

    it('announces the gap if the history does not reach back to the cursor, then sends the rest', async () => {
      await restart({ historySize: 100, tailEntries: 10 })
      const first = await open()
      await publish(range(1, 3))
      await first.messagesUntil(3)
      first.close()
      await publish(range(4, 600))
      const second = await open(undefined, first.lastEventId)
      await second.until((client) => numbersOf(client).at(-1) === 600)
      const gap = JSON.parse((await second.control('sse.gap')).data)
      expect(second.events[1]?.event).to.equal('sse.gap')
      expect(gap).to.deep.include({ channel, from: 4, reason: 'trimmed' })
      expect(numbersOf(second)).to.deep.equal(range(gap.to + 1, 600))
      // The events of one call (up to 256) are trimmed together.
      expect(gap.to).to.be.within(500 - 256, 500)
    })

    it('announces that all missed events are lost if no history is kept, and continues live', async () => {
      await restart({ historySize: 0, tailEntries: 0 })
      const first = await open()
      first.close()
      await publish(range(1, 5))
      const second = await open(undefined, first.lastEventId)
      expect(JSON.parse((await second.control('sse.gap')).data)).to.include({ from: 1, to: 5 })
      await publish([6])
      await second.messagesUntil(1)
      expect(numbersOf(second)).to.deep.equal([6])
    })

    it('resets a cursor of a deleted log, and a cursor ahead of its log', async () => {
      const lost = await open(undefined, 'zzzzzz-5')
      expect(JSON.parse((await lost.control('sse.reset')).data)).to.deep.equal({ channel, reason: 'log_replaced' })
      const ahead = await open(undefined, lost.lastEventId.replace(/\d+$/, '99'))
      expect(JSON.parse((await ahead.control('sse.reset')).data)).to.deep.equal({ channel, reason: 'cursor_ahead' })
      await publish([1])
      await Promise.all([lost.messagesUntil(1), ahead.messagesUntil(1)])
    })

    it('treats an invalid cursor as absent: junk, 15 KB, repeated, not ASCII, NUL', async () => {
      await publish([1])
      const junk = [
        'garbage',
        '-',
        'abc-',
        'abc-01',
        'a'.repeat(15_000),
        'abcdef-1, abcdef-1',
        'é-1',
        'abcdef-1.abcdef-2',
      ]
      for (const lastEventId of junk) {
        const client = await open(undefined, Buffer.from(lastEventId).toString('latin1'))
        expect(client.status).to.equal(200)
        expect(client.events).to.have.length(1)
        client.close()
      }
      expect((await open(`channel=${channel}&last_event_id=a%00b`)).events).to.have.length(1)
    })

    it('serves several channels on one stream, resumes each of them, and resets only the lost one', async () => {
      const names = range(1, 8).map((n) => `${channel}:${n}`)
      const query = names.map((n) => `channel=${n}`).join('&')
      const first = await open(query)
      for (const n of names) await publish([1, 2], n)
      await first.messagesUntil(16)
      expect(first.lastEventId.split('.')).to.have.length(8)
      expect(first.lastEventId.length).to.be.at.most(128)
      first.close()
      for (const n of names) await publish([3, 4, 5], n)
      const second = await open(query, first.lastEventId)
      await second.messagesUntil(24)
      expect(numbersOf(second)).to.deep.equal(names.flatMap(() => [3, 4, 5]))
      expect(second.lastEventId.split('.').map((part) => part.split('-')[1])).to.deep.equal(Array(8).fill('5'))
      const [part = '', ...others] = second.lastEventId.split('.')
      const third = await open(query, [part.replace(/^\w+/, 'zzzzzz'), ...others].join('.'))
      expect(JSON.parse((await third.control('sse.reset')).data).channel).to.equal(names[0])
      expect(third.events.filter(({ event }) => event === 'sse.reset')).to.have.length(1)
    })

    it('sends the same composite ids to live streams on the same channels', async () => {
      const query = `channel=${channel}:a&channel=${channel}:b`
      const [one, two] = [await open(query), await open(`channel=${channel}:b&channel=${channel}:a`)]
      for (let n = 1; n <= 20; n++) await publish([n], `${channel}:${n % 2 ? 'a' : 'b'}`)
      await Promise.all([one.messagesUntil(20), two.messagesUntil(20)])
      expect(one.messages).to.deep.equal(two.messages)
      // Each event advances one part by one. Events of one channel are ordered, events of different channels are not.
      const sums = one.messages.map(({ id = '' }) =>
        [...id.matchAll(/-(\d+)/g)].reduce((sum, part) => sum + Number(part[1]), 0),
      )
      expect(sums).to.deep.equal(range(1, 20))
      const ofA = numbersOf(one).filter((n) => n % 2 === 1)
      expect(ofA).to.deep.equal(range(1, 10).map((n) => 2 * n - 1))
    })

    it('adds a channel to a cursor without a reset of the other channels', async () => {
      const one = await open(`channel=${channel}:a`)
      const two = await open(`channel=${channel}:a&channel=${channel}:b`, one.lastEventId)
      await publish([1], `${channel}:b`)
      await two.messagesUntil(1)
      expect(two.events.map(({ event }) => event)).to.deep.equal(['sse.open', 'n'])
    })

    it('lets a slow client lag without a queue, and delivers all events in order', async () => {
      await restart({ tailBytes: 20_000, historySize: 10_000 })
      const slow = await open()
      const healthy = await open()
      slow.pause()
      const padding = ` ${'x'.repeat(2000)}`
      for (let n = 1; n <= 8000; n += 200) {
        await publish(range(n, n + 199), channel, padding)
        await healthy.messagesUntil(n + 199)
      }
      expect(numbersOf(slow).length, 'the slow one did fall behind').to.be.below(8000)
      slow.resume()
      await slow.messagesUntil(8000)
      expect(numbersOf(slow)).to.deep.equal(range(1, 8000))
      expect(numbersOf(healthy)).to.deep.equal(range(1, 8000))
      await publish([8001])
      await slow.messagesUntil(8001)
    })

    it('delivers ephemeral events to open streams, without a position and without replay', async () => {
      const first = await open()
      await multiplexer.publish(channel, { event: 'typing', data: 'dana', ephemeral: true })
      await publish([1])
      await first.messagesUntil(2)
      expect(first.messages.map(({ event, id }) => [event, id === undefined])).to.have.deep.members([
        ['typing', true],
        ['n', false],
      ])
      const second = await open(undefined, first.lastEventId.replace(/\d+$/, '0'))
      await second.messagesUntil(1)
      expect(second.messages.map(({ event }) => event)).to.deep.equal(['n'])
    })

    it('rejects an idempotency key that is not a string of 1 to 256 characters', async () => {
      for (const idempotencyKey of ['', 'x'.repeat(257), 7, null, {}]) {
        for (const publishing of [
          multiplexer.publish(channel, { data: 1 }, { idempotencyKey } as never),
          multiplexer.publishMany(channel, [{ data: 1 }], { idempotencyKey } as never),
        ]) {
          const error = await publishing.catch((error: unknown) => error)
          expect(error).to.include({ code: 'ERR_SSE_EVENT_INVALID' })
        }
      }
      await multiplexer.publish(channel, { data: 1 }, { idempotencyKey: 'é'.repeat(256) })
    })

    it('returns a cursor for loading a page: events before the stream opens are not missed', async () => {
      await publish([1, 2])
      const cursor = await multiplexer.cursor([channel])
      await publish([3])
      const client = await open(`channel=${channel}&last_event_id=${cursor}`)
      await publish([4])
      await client.messagesUntil(2)
      expect(numbersOf(client)).to.deep.equal([3, 4])
    })

    it('opens from a cursor ahead of the events that an open stream has received', async () => {
      await open()
      for (let round = 0; round < 20; round++) {
        const publishing = publish([round])
        const cursor = await multiplexer.cursor([channel])
        const client = await open(`channel=${channel}&last_event_id=${cursor}`)
        await publishing
        expect(client.events.map(({ event }) => event)).to.not.include('sse.reset')
        client.close()
      }
    })

    it('publishes several events as one step, and accepts offers without a result', async () => {
      const client = await open()
      const positions = await multiplexer.publishMany(
        channel,
        range(1, 3).map((data) => ({ data })),
      )
      expect(positions.map(({ offset }) => offset)).to.deep.equal([1, 2, 3])
      expect(multiplexer.offer(channel, { data: 4 })).to.equal(true)
      await client.messagesUntil(4)
      expect(numbersOf(client)).to.deep.equal([1, 2, 3, 4])
      expect(client.lastEventId).to.equal(`${positions[0]?.epoch}-4`)
      expect(await multiplexer.publishMany(channel, [])).to.deep.equal([])
    })

    it('publishes no event of a batch if one is invalid, and names it', async () => {
      for (const [events, code, text] of [
        [[{ data: 1 }, { data: 2, id: 'x' }], 'ERR_SSE_EVENT_INVALID', 'events[1]'],
        [[{ data: 1 }, { data: 'x'.repeat(1_048_577) }], 'ERR_SSE_EVENT_TOO_LARGE', 'events[1]'],
        [Array(9).fill({ data: 'x'.repeat(1_000_000) }), 'ERR_SSE_EVENT_TOO_LARGE', '8 × maxEventBytes'],
        [Array(1001).fill({ data: 1 }), 'ERR_SSE_EVENT_TOO_LARGE', '1000'],
        [{ data: 1 } as never, 'ERR_SSE_EVENT_INVALID', 'array'],
      ] as const) {
        const error = await multiplexer.publishMany(channel, events).then(
          () => undefined,
          (reason) => reason,
        )
        expect(error?.code).to.equal(code)
        expect(error?.message).to.include(text)
      }
      expect(await multiplexer.cursor(channel)).to.match(/-0$/)
    })

    it('rejects invalid channels and events with a code, before it sends anything', async () => {
      for (const query of [
        '',
        'channel=a*',
        'channel=a%20b',
        'channel=%7Ba%7D',
        range(1, 9)
          .map((n) => `channel=c${n}`)
          .join('&'),
      ]) {
        const client = await open(query)
        await client.ended()
        expect(client.status).to.equal(400)
        expect(JSON.parse(client.raw).code).to.equal('ERR_SSE_CHANNEL_INVALID')
      }
      for (const [event, code] of [
        [{ data: 1, id: 'mine' }, 'ERR_SSE_EVENT_INVALID'],
        [{ data: 1, event: 'a\nb' }, 'ERR_SSE_EVENT_INVALID'],
        [{ data: 'x'.repeat(2_000_000) }, 'ERR_SSE_EVENT_TOO_LARGE'],
      ] as const) {
        const error = await multiplexer.publish(channel, event).catch((thrown: unknown) => thrown)
        expect(error).to.have.property('code', code)
      }
      expect(await multiplexer.publish('a b', { data: 1 }).catch((thrown: unknown) => thrown)).to.have.property(
        'code',
        'ERR_SSE_CHANNEL_INVALID',
      )
    })

    it('does not subscribe for a client that disconnects while its channels are determined', async () => {
      let onArrived: () => void
      const arrived = new Promise<void>((resolve) => {
        onArrived = resolve
      })
      const app = express()
      app.get(
        '/',
        multiplexer.stream(async (req) => {
          onArrived()
          await new Promise<void>((resolve) => req.res?.on('close', resolve))
          return channel
        }),
      )
      const messages: unknown[] = []
      const onMessage = (message: unknown): void => void messages.push(message)
      for (const each of [diagnostics.streamOpen, diagnostics.streamClose]) each.subscribe(onMessage)
      const slow = await serve(app)
      const opening = SseClient.open(slow.url).catch((error: unknown) => error)
      await arrived
      slow.server.closeAllConnections()
      await opening
      await slow.stop()
      await new Promise(setImmediate)
      for (const each of [diagnostics.streamOpen, diagnostics.streamClose]) each.unsubscribe(onMessage)
      expect(multiplexer.status()).to.include({ streams: 0, channels: 0 })
      expect(messages, 'no stream was open').to.deep.equal([])
    })

    it('ends all streams with sse.reconnect when it closes, and refuses new ones', async () => {
      const client = await open()
      const [, again] = await Promise.all([multiplexer.close(), multiplexer.close()])
      expect(again).to.equal(undefined)
      await client.ended()
      expect(JSON.parse(client.events.at(-1)?.data ?? '')).to.include({ reason: 'shutdown' })
      const refused = await open()
      await refused.ended()
      expect(refused.status).to.equal(503)
      expect(JSON.parse(refused.raw).code).to.equal('ERR_SSE_CLOSED')
      expect(multiplexer.status()).to.include({ state: 'closed', streams: 0, channels: 0 })
    })
  })
}
