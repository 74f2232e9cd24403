import { expect } from 'chai'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { createPressure } from '../../lib/stream/pressure.js'
import type { PollAnswer } from '../../lib/wire/contract.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve } from '../helpers/http-server.js'
import { exceedQueuedBytes } from '../helpers/pressure.js'
import { RedisServer } from '../helpers/redis-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('opening a stream on channels', () => {
  it('holds nothing for a stream that a subscriber of diagnostics closes as soon as it is open', async () => {
    const multiplexer = createMultiplexer({ lingerMs: 0 })
    const handler = multiplexer.stream(() => 'a')
    const server = await serve((req, res) => void handler(req, res, (error) => res.destroy(error as Error)))
    const closeStream = (message: unknown): void => {
      void (message as { source: { close(): Promise<void> } }).source.close()
    }
    diagnostics.streamOpen.subscribe(closeStream)
    try {
      const client = await SseClient.open(server.url)
      await client.ended()
      await eventually(() => multiplexer.status().channels === 0)
      expect(multiplexer.status().streams).to.equal(0)
    } finally {
      diagnostics.streamOpen.unsubscribe(closeStream)
      await multiplexer.close()
      await server.stop()
    }
  })

  it('sends no event on a stream whose token has expired meanwhile', async () => {
    const clock = new FakeClock()
    const multiplexer = createMultiplexer({ clock })
    const handler = multiplexer.stream(async () => {
      clock.advance(1000)
      return 'a'
    })
    const auth = { user: 'ada', tenant: 'acme', expiresAt: clock.wallTime() + 1000, claims: {} }
    const server = await serve((req, res) => {
      void handler(Object.assign(req, { auth }), res, (error) => res.destroy(error as Error))
    })
    try {
      await multiplexer.publish('a', { data: 1 })
      const client = await SseClient.open(`${server.url}/?from=earliest`)
      await client.ended()
      expect(client.events.map(({ event }) => event)).to.deep.equal(['sse.open', 'sse.expired', 'sse.reconnect'])
    } finally {
      await multiplexer.close()
      await server.stop()
    }
  })

  it('ends a stream that pressure refuses, also if the pressure ends before channelsOf has returned', async () => {
    const clock = new FakeClock()
    const pressure = createPressure({ maxQueuedBytes: 0, maxLoopDelayMs: 0, sustainMs: 5000, clock })
    exceedQueuedBytes(pressure)
    const multiplexer = createMultiplexer({ stream: { refuseWith: 'stream', pressure } })
    const handler = multiplexer.stream(async () => {
      clock.advance(5000)
      expect(pressure.level).to.equal('none')
      return 'a'
    })
    const server = await serve((req, res) => void handler(req, res, (error) => res.destroy(error as Error)))
    try {
      expect(pressure.level).to.not.equal('none')
      const client = await SseClient.open(server.url)
      expect(JSON.parse((await client.control('sse.reconnect')).data)).to.include({ reason: 'overloaded' })
      await client.ended()
    } finally {
      await multiplexer.close()
      await server.stop()
    }
  })
})

describe('opening a poll', () => {
  it('answers it when its token expires, however long its channels took to open', async () => {
    const redis = await RedisServer.start()
    const clock = new FakeClock()
    const multiplexer = createMultiplexer({ redis: redis.url, clock })
    const handler = multiplexer.poll(() => 'a')
    const auth = { user: 'ada', tenant: 'acme', expiresAt: clock.wallTime() + 1000, claims: {} }
    let opened = false
    const noteOpened = (message: unknown): void => {
      if ((message as { command: string }).command !== 'open') return
      setImmediate(() => {
        opened = true
      })
    }
    const server = await serve((req, res) => {
      void handler(Object.assign(req, { auth }), res, (error) => res.destroy(error as Error))
    })
    try {
      await eventually(() => multiplexer.status().state === 'ready')
      diagnostics.brokerCommand.subscribe(noteOpened)
      redis.pause()
      const waiting = fetch(`${server.url}/?from=earliest&wait=20000`)
      await eventually(() => multiplexer.status().channels === 1)
      clock.advance(600)
      redis.resume()
      await eventually(() => opened)
      clock.advance(400)
      expect(((await (await waiting).json()) as PollAnswer).events).to.deep.equal([])
    } finally {
      diagnostics.brokerCommand.unsubscribe(noteOpened)
      await multiplexer.close()
      await server.stop()
      await redis.stop()
    }
  })

  it('lets it wait for an event if its token does not expire', async () => {
    const multiplexer = createMultiplexer({ lingerMs: 0 })
    const handler = multiplexer.poll(() => 'a')
    const auth = { user: 'ada', tenant: 'acme', expiresAt: 0, claims: {} }
    const server = await serve((req, res) => {
      void handler(Object.assign(req, { auth }), res, (error) => res.destroy(error as Error))
    })
    try {
      const waiting = fetch(`${server.url}/?from=earliest&wait=20000`)
      await eventually(() => multiplexer.status().channels === 1)
      await multiplexer.publish('a', { data: 1 })
      const { events } = (await (await waiting).json()) as PollAnswer
      expect(events.map(({ data }) => data)).to.deep.equal(['1'])
    } finally {
      await multiplexer.close()
      await server.stop()
    }
  })
})
