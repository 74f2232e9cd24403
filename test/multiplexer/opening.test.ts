import { expect } from 'chai'
import { diagnostics } from '../../lib/core/diagnostics.js'
import { createMultiplexer } from '../../lib/multiplexer/multiplexer.js'
import { createPressure } from '../../lib/stream/pressure.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve } from '../helpers/http-server.js'
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

  it('ends a stream that pressure refuses, also if the pressure ends before channelsOf has returned', async () => {
    const clock = new FakeClock()
    const pressure = createPressure({ maxBacklogBytes: 0, maxLoopDelayMs: 0, sustainMs: 5000, clock })
    pressure.hold({ canPoll: false, shed: () => undefined, giveWay: () => undefined }, 1)
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
