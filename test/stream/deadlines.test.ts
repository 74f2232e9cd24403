import { expect } from 'chai'
import { Deadlines } from '../../lib/stream/deadlines.js'
import { FakeClock } from '../helpers/fake-clock.js'

const HOUR_MS = 3_600_000

describe('the deadlines of a stream', () => {
  let clock: FakeClock
  let closed: string[]
  let beats: number

  beforeEach(() => {
    clock = new FakeClock()
    closed = []
    beats = 0
  })

  function start({
    heartbeatMs = 1000,
    maxAgeMs = 0,
    inMs,
  }: Partial<Record<'heartbeatMs' | 'maxAgeMs' | 'inMs', number>>) {
    const stream = { sendHeartbeat: () => void beats++, close: (reason: string) => void closed.push(reason) }
    const expiresAt = inMs === undefined ? undefined : clock.wallTime() + inMs
    return new Deadlines(stream, { clock, heartbeatMs, maxAgeMs, expiresAt })
  }

  it('close a stream within one heartbeat after the wall clock is set beyond the end of its token', () => {
    start({ inMs: HOUR_MS })
    clock.advance(10_000)
    clock.setWallClock(2 * HOUR_MS)
    expect(closed).to.deep.equal([])
    clock.advance(1000)
    expect(closed).to.deep.equal(['expired'])
    expect(clock.pending).to.equal(0)
  })

  it('do so within 25 s if there are no heartbeats', () => {
    start({ heartbeatMs: 0, inMs: HOUR_MS })
    clock.setWallClock(2 * HOUR_MS)
    clock.advance(25_000)
    expect(closed).to.deep.equal(['expired'])
  })

  it('keep a stream whose token is valid again after the wall clock is set back', () => {
    start({ inMs: 60_000 })
    clock.setWallClock(-HOUR_MS)
    clock.advance(HOUR_MS)
    expect(closed).to.deep.equal([])
    clock.advance(60_000)
    expect(closed).to.deep.equal(['expired'])
  })

  it('measure heartbeats and the maximum age only by the monotonic clock', () => {
    start({ maxAgeMs: 100_000 })
    clock.setWallClock(HOUR_MS)
    clock.advance(50_000)
    clock.setWallClock(-5 * HOUR_MS)
    clock.advance(39_000)
    expect(closed).to.deep.equal([])
    expect(beats).to.be.within(88, 90)
    clock.advance(11_000)
    expect(closed).to.deep.equal(['max_age'])
  })

  it('keep no timer when the stream closes during its heartbeat', () => {
    const deadlines = new Deadlines(
      { sendHeartbeat: () => deadlines.cancel(), close: () => undefined },
      { clock, heartbeatMs: 1000, maxAgeMs: HOUR_MS, expiresAt: undefined },
    )
    clock.advance(1000)
    expect(clock.pending).to.equal(0)
  })
})
