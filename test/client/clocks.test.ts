import { expect } from 'chai'
import { createRetryDelay } from '../../lib/client/retry-delay.js'
import { eventually } from '../helpers/eventually.js'
import { type Answer, answering, blocks, json, record } from './recorded.js'

const HOUR_MS = 3_600_000
const dateNow = Date.now

describe('the client while the wall clock is set back', () => {
  afterEach(() => {
    Date.now = dateNow
  })

  function setBack(): void {
    Date.now = () => dateNow() - HOUR_MS
  }

  it('does not wait longer between two attempts', async () => {
    const left: number[] = []
    const delay = createRetryDelay()
    const over = delay.wait(60, 0, (leftMs) => {
      left.push(leftMs)
      setBack()
    })
    await over
    expect(Math.max(...left)).to.be.at.most(61)
  })

  it('returns from polling to the stream', async () => {
    const swallow: Answer = () => undefined
    const poll = json({ events: [], cursor: 'abcdef-1', stream: true, afterMs: 1 })
    let polls = 0
    const server = await answering(swallow, swallow, (req, res) => {
      if (req.url?.startsWith('/poll')) {
        if (polls++ === 0) setBack()
        poll(req, res)
      } else {
        blocks(': hello\n\n', true)(req, res)
      }
    })
    const client = record(server.url, { openTimeoutMs: 100, pollUrl: '/poll', streamRetryMs: 50, longPollMs: 1 })
    await eventually(() => client.stream.state === 'open')
    expect(polls).to.be.above(0)
    client.stream.close()
    await server.stop()
  })
})
