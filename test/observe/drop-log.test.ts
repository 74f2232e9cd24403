import { expect } from 'chai'
import express from 'express'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { type DropLine, logDrops } from '../../lib/observe/drop-log.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { SseClient } from '../helpers/sse-client.js'

describe('the drop log', () => {
  let clock: FakeClock
  let server: TestServer
  let client: SseClient
  let stream: EventStream
  let lines: DropLine[]
  let stop: () => void

  beforeEach(async () => {
    clock = new FakeClock()
    lines = []
    stop = logDrops({ clock, linesPerSecond: 2, write: (line) => lines.push(line) })
    const pacing = createPacing({ stream: { capacity: 5, refillPerSecond: 1 } }, { clock })
    const streams: EventStream[] = []
    const app = express().use(sseMiddleware({ clock, heartbeatMs: 0, queueEvents: 1, pacing }))
    app.get('/', (req, res) => {
      req.auth = { user: 'dana', tenant: 'acme', expiresAt: clock.wallTime() + 3_600_000, claims: {} }
      streams.push(res.sse())
    })
    server = await serve(app)
    client = await SseClient.open(server.url)
    stream = streams[0] as EventStream
  })

  afterEach(async () => {
    stop()
    client.close()
    await server.stop()
  })

  const send = (count: number): void => {
    for (let n = 0; n < count; n++) stream.send({ data: n })
  }

  it('logs the user, the reason, the total and the remaining tokens of a drop', () => {
    send(7)
    expect(lines).to.deep.equal([
      {
        event: 'sse.drop',
        reason: 'queue_full',
        client_ip: '127.0.0.1',
        connection_id: stream.id,
        user: 'dana',
        tenant: 'acme',
        drops_total: 1,
        bucket_tokens: 0,
        timestamp: new Date(clock.wallTime()).toISOString(),
        suppressed: 0,
      },
    ])
  })

  it('writes a few lines per second, and counts the suppressed drops', () => {
    send(6 + 10)
    expect(lines.map(({ drops_total }) => drops_total)).to.deep.equal([1, 2])
    clock.advance(1000)
    // One event is sent and makes room for another.
    send(2)
    expect(lines.at(-1)).to.include({ drops_total: 11, suppressed: 8 })
    send(1)
    expect(lines.at(-1)).to.include({ drops_total: 12, suppressed: 0 })
  })

  it('warns once and continues if write fails', async () => {
    stop()
    const warnings: string[] = []
    const onWarning = (warning: Error & { code?: string }): void => {
      if (warning.code === 'SSE_DROP_LOG') warnings.push(warning.message)
    }
    process.on('warning', onWarning)
    stop = logDrops({
      clock,
      write: () => {
        throw new Error('disk full')
      },
    })
    send(10)
    await new Promise((resolve) => setImmediate(resolve))
    process.off('warning', onWarning)
    expect(warnings).to.deep.equal(['The drop log cannot be written: Error: disk full'])
    expect(stream.closeReason).to.equal(undefined)
  })

  it('can be stopped', () => {
    stop()
    send(10)
    expect(lines).to.deep.equal([])
  })
})
