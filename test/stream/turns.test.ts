import { expect } from 'chai'
import express from 'express'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('the queue of a stream and its log', () => {
  for (const busy of ['queue', 'log'] as const) {
    it(`take turns: a ${busy} that never runs dry does not keep the other waiting`, async () => {
      const clock = new FakeClock()
      const pacing = createPacing({ stream: { capacity: 1, refillPerSecond: 1 } }, { clock })
      const multiplexer = createMultiplexer({
        clock,
        stream: { heartbeatMs: 0, maxAgeMs: 0, stallMs: 0, queueTtlMs: 3_600_000, pacing },
      })
      const server = await serve(
        express().get(
          '/',
          multiplexer.stream(() => 'log'),
        ),
      )
      const client = await SseClient.open(server.url)
      await client.control('sse.open')
      const publish = (event: 'queue' | 'log') =>
        multiplexer.publish('log', { event, data: 1, ephemeral: event === 'queue' })
      for (let i = 0; i < 20; i++) await publish(busy)
      await publish(busy === 'queue' ? 'log' : 'queue')
      for (let second = 1; second <= 6; second++) {
        await publish(busy)
        await new Promise(setImmediate)
        clock.advance(1000)
        await client.messagesUntil(second + 1)
      }
      const other = client.messages.filter(({ event }) => event !== busy)
      client.close()
      await multiplexer.close()
      await server.stop()
      expect(other).to.have.length(1)
    })
  }
})
