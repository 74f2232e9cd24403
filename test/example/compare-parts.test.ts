import { expect } from 'chai'
import express from 'express'
import { createDelays } from '../../example/web/src/compare/delays.js'
import { createMeter } from '../../example/web/src/compare/meter.js'
import type { Message } from '../../example/web/src/types.js'
import { serve } from '../helpers/http-server.js'

describe("the comparison's delays", () => {
  const message = (id: string, at: number): Message => ({
    id,
    conversation_id: 'c',
    direction: 'in',
    text: id,
    from: 'ada',
    at: new Date(at).toISOString(),
  })

  it('include each message after the first list once', () => {
    const delays = createDelays()
    delays.add([message('before', 0)], 5000)
    expect(delays.summary()).to.equal(undefined)
    delays.add([message('before', 0), message('a', 6000), message('b', 9000)], 10_000)
    delays.add([message('b', 9000), message('c', 10_900)], 11_000)
    expect(delays.shown().map(({ message, delayMs }) => [message.id, delayMs])).to.deep.equal([
      ['before', undefined],
      ['a', 4000],
      ['b', 1000],
      ['c', 100],
    ])
    expect(delays.summary()).to.deep.equal({ count: 3, medianMs: 1000, longestMs: 4000, lastMs: 100 })
  })

  it('are never negative, even if the clocks differ', () => {
    const delays = createDelays()
    delays.add([], 0)
    delays.add([message('a', 1003)], 1000)
    expect(delays.summary()?.longestMs).to.equal(0)
  })
})

describe("the comparison's meter", () => {
  it('counts requests and bytes of bodies, in total and within the last minute', async () => {
    const app = express()
    app.get('/five', (_, res) => void res.send('12345'))
    app.get('/none', (_, res) => void res.status(204).end())
    const server = await serve(app)
    let now = 0
    const meter = createMeter(() => now)
    const answer = await meter.fetch(`${server.url}/five`)
    expect([answer.status, await answer.text()]).to.deep.equal([200, '12345'])
    now = 30_000
    expect((await meter.fetch(`${server.url}/none`)).status).to.equal(204)
    expect(meter.lastMinute()).to.deep.equal({ requests: 2, bytes: 5 })
    now = 61_000
    expect(meter.lastMinute()).to.deep.equal({ requests: 1, bytes: 0 })
    expect(meter.total()).to.deep.equal({ requests: 2, bytes: 5 })
    await server.stop()
  })
})
