import { once } from 'node:events'
import { expect } from 'chai'
import express from 'express'
import { createEventStream } from '../../lib/client/index.js'
import type { Multiplexer } from '../../lib/multiplexer/multiplexer.js'
import type { MultiplexerOptions, PollOptions } from '../../lib/multiplexer/options.js'
import type { PollAnswer } from '../../lib/wire/contract.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'

/** The guarantees of polling on every broker: the same events and the same cursor as a stream. */
export function pollSuite(name: string, create: (options?: MultiplexerOptions) => Multiplexer): void {
  describe(`polling on ${name}`, () => {
    let multiplexer: Multiplexer
    let server: TestServer
    let channel: string
    let channelNumber = 0

    beforeEach(async () => {
      channel = `poll:${name}:${++channelNumber}`
      await start()
    })
    afterEach(stop)

    async function start(options: MultiplexerOptions = {}, poll: PollOptions = {}): Promise<void> {
      multiplexer = create({ lingerMs: 0, ...options })
      const channelsOf = (req: { url: string }) => new URLSearchParams(req.url.split('?')[1]).getAll('channel')
      server = await serve(
        express().get('/poll', multiplexer.poll(channelsOf, poll)).get('/stream', multiplexer.stream(channelsOf)),
      )
    }

    async function stop(): Promise<void> {
      await multiplexer.close()
      await server.stop()
    }

    async function restart(options: MultiplexerOptions, poll?: PollOptions): Promise<void> {
      await stop()
      await start(options, poll)
    }

    async function request(query: string, channels = [channel]): Promise<Response> {
      return fetch(`${server.url}/poll?${channels.map((each) => `channel=${each}`).join('&')}&${query}`)
    }

    async function poll(query = '', channels?: string[]): Promise<PollAnswer> {
      const response = await request(query, channels)
      expect(response.status).to.equal(200)
      expect(response.headers.get('content-type')).to.equal('application/json; charset=utf-8')
      expect(response.headers.get('cache-control')).to.equal('private, no-store')
      return (await response.json()) as PollAnswer
    }

    async function publish(numbers: readonly number[], to = channel): Promise<void> {
      await multiplexer.publishMany(
        to,
        numbers.map((data) => ({ event: 'n', data })),
      )
    }

    it('returns the head of the log immediately, and later the events after it', async () => {
      await publish([1, 2])
      const first = await poll()
      expect(first).to.deep.equal({
        events: [],
        cursor: await multiplexer.cursor(channel),
        stream: true,
        afterMs: 5000,
      })
      await publish([3, 4])
      const [epoch] = first.cursor.split('-')
      expect(await poll(`cursor=${first.cursor}`)).to.deep.equal({
        events: [3, 4].map((n) => ({ id: `${epoch}-${n}`, event: 'n', data: `${n}` })),
        cursor: `${epoch}-4`,
        stream: true,
        afterMs: 5000,
      })
      expect((await poll('from=earliest')).events.map(({ data }) => data)).to.deep.equal(['1', '2', '3', '4'])
      await eventually(() => multiplexer.status().channels === 0)
    })

    it('limits the size of a response, and reports that more events remain', async () => {
      await restart({}, { maxEvents: 100, pollMs: 1234 })
      const { cursor } = await poll()
      for (const from of [1, 91, 181]) await publish(range(from, from + 89))
      const seen: number[] = []
      const after: number[] = []
      for (let next = cursor; after.at(-1) !== 1234; ) {
        const answer = await poll(`cursor=${next}`)
        seen.push(...answer.events.map(({ data }) => Number(data)))
        after.push(answer.afterMs)
        next = answer.cursor
      }
      expect(seen).to.deep.equal(range(1, 270))
      expect(after.length).to.be.within(3, 5)
    })

    it('waits for an event up to the requested time, and returns it immediately', async () => {
      const { cursor } = await poll()
      const waiting = poll(`cursor=${cursor}&wait=20000`)
      await eventually(() => multiplexer.status().channels === 1)
      await publish([1])
      const answer = await waiting
      expect(answer.events.map(({ data }) => data)).to.deep.equal(['1'])
      expect(answer.afterMs).to.equal(0)
      const nothing = await poll(`cursor=${answer.cursor}&wait=30`)
      expect(nothing).to.deep.equal({ events: [], cursor: answer.cursor, stream: true, afterMs: 0 })
    })

    it('fills the response of a waiting poll when more events arrive at once than fit', async () => {
      await restart({}, { maxEvents: 3 })
      const { cursor } = await poll()
      const waiting = poll(`cursor=${cursor}&wait=20000`)
      await eventually(() => multiplexer.status().channels === 1)
      await publish([1, 2, 3, 4, 5])
      const answer = await waiting
      expect(answer.events.map(({ data }) => data)).to.deep.equal(['1', '2', '3'])
      const rest = await poll(`cursor=${answer.cursor}`)
      expect(rest.events.map(({ data }) => data)).to.deep.equal(['4', '5'])
    })

    it('returns ephemeral events to waiting polls, without an id', async () => {
      const waiting = poll('wait=20000')
      await eventually(() => multiplexer.status().channels === 1)
      // A poll returns events that arrive after it has subscribed to the channel, which is now.
      await multiplexer.cursor(channel)
      await eventually(async () => {
        await multiplexer.publish(channel, { event: 'typing', data: 'x', ephemeral: true })
        return multiplexer.status().channels === 0
      })
      expect((await waiting).events[0]).to.deep.equal({ event: 'typing', data: 'x' })
    })

    it('serves several channels with one cursor', async () => {
      const channels = [channel, `${channel}:b`]
      const { cursor } = await poll('', channels)
      await publish([1, 2])
      await publish([10], `${channel}:b`)
      const answer = await poll(`cursor=${cursor}`, channels)
      expect(answer.events.map(({ data }) => data)).to.have.members(['1', '2', '10'])
      expect(answer.cursor).to.equal(await multiplexer.cursor(channels))
      expect((await poll(`cursor=${answer.cursor}`, channels)).events).to.deep.equal([])
    })

    it('announces gaps and resets once', async () => {
      await restart({ historySize: 0 })
      const { cursor } = await poll()
      await publish([1, 2, 3])
      const gap = await poll(`cursor=${cursor}`)
      expect(gap.events.map(({ event }) => event)).to.deep.equal(['sse.gap'])
      expect(JSON.parse(gap.events[0]?.data ?? '')).to.deep.equal({ channel, from: 1, to: 3, reason: 'trimmed' })
      expect((await poll(`cursor=${gap.cursor}`)).events).to.deep.equal([])
      const reset = await poll('cursor=gone00-7')
      expect(reset.events.map(({ event }) => event)).to.deep.equal(['sse.reset'])
      expect((await poll(`cursor=${reset.cursor}`)).events).to.deep.equal([])
    })

    it('rejects invalid waiting times and channels with a code', async () => {
      for (const [query, channels, code] of [
        ['wait=soon', [channel], 'ERR_SSE_QUERY_INVALID'],
        ['wait=-1', [channel], 'ERR_SSE_QUERY_INVALID'],
        ['wait=1', ['a*'], 'ERR_SSE_CHANNEL_INVALID'],
      ] as const) {
        const response = await request(query, [...channels])
        expect(response.status).to.equal(400)
        expect((await response.json()) as object).to.include({ code })
      }
    })

    it('does not subscribe for a disconnected client, and answers waiting polls when it closes', async () => {
      const gone = new AbortController()
      const url = `${server.url}/poll?channel=${channel}&wait=20000`
      const aborted = fetch(url, { signal: gone.signal }).catch((error: Error) => error.name)
      await eventually(() => multiplexer.status().channels === 1)
      gone.abort()
      expect(await aborted).to.equal('AbortError')
      await eventually(() => multiplexer.status().channels === 0)
      // The channel already has a subscription. A poll that is still subscribing would be refused by `close`.
      await restart({ lingerMs: 60_000 })
      await poll()
      const arrived = once(server.server, 'request')
      const waiting = poll('wait=20000')
      await arrived
      await new Promise(setImmediate)
      await multiplexer.close()
      expect((await waiting).events).to.deep.equal([])
    })

    it('can alternate with a stream at any event: each event arrives once and in order', async () => {
      const seen: number[] = []
      let { cursor } = await poll()
      let published = 0
      let stopped = false
      const publishing = (async () => {
        while (!stopped) {
          await publish([++published])
          await new Promise((resolve) => setImmediate(resolve))
        }
      })()
      for (let turn = 0; turn < 6; turn++) {
        const until = seen.length + 40
        if (turn % 2 === 0) {
          const stream = createEventStream(`${server.url}/stream?channel=${channel}`, { cursor })
          stream.on('n', ({ data, id }) => {
            if (seen.length >= until) return
            seen.push(Number(data))
            cursor = id ?? cursor
          })
          await eventually(() => seen.length >= until)
          stream.close()
        } else {
          while (seen.length < until) {
            const answer = await poll(`cursor=${cursor}&wait=1000`)
            seen.push(...answer.events.map(({ data }) => Number(data)))
            cursor = answer.cursor
          }
        }
      }
      stopped = true
      await publishing
      expect(seen).to.deep.equal(range(1, seen.length))
      expect(seen.length).to.be.at.least(240)
    })
  })
}
