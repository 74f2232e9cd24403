import { expect } from 'chai'
import { LeaseClock } from '../../lib/core/lease-clock.js'
import { FakeClock } from '../helpers/fake-clock.js'

describe('the lease clock', () => {
  let steady: FakeClock
  let clock: LeaseClock

  beforeEach(() => {
    steady = new FakeClock()
    clock = new LeaseClock(steady)
  })

  /** The machine is suspended: only the wall clock advances. */
  function suspend(ms: number): void {
    steady.setWallClock(ms)
  }

  it('advances with the monotonic clock', () => {
    const before = clock.now()
    steady.advance(5000)
    expect(clock.now() - before).to.equal(5000)
  })

  it('advances with the wall clock while the monotonic clock is stopped', () => {
    const before = clock.now()
    suspend(60_000)
    steady.advance(5000)
    expect(clock.now() - before).to.equal(65_000)
    suspend(60_000)
    expect(clock.now() - before).to.equal(125_000)
  })

  it('compares the clocks again after a tenth of a ms', () => {
    const before = clock.now()
    steady.advance(0.05)
    suspend(60_000)
    expect(clock.now() - before).to.be.closeTo(0.05, 0.001)
    steady.advance(0.06)
    expect(clock.now() - before).to.be.closeTo(60_000.11, 0.001)
  })

  it('does not follow the wall clock back, and detects a later suspension', () => {
    const before = clock.now()
    steady.setWallClock(-3_600_000)
    steady.advance(5000)
    expect(clock.now() - before).to.equal(5000)
    suspend(60_000)
    expect(clock.now() - before).to.equal(65_000)
  })

  it('does not gain time although the two clocks are read one after the other', () => {
    const before = clock.now()
    for (let i = 0; i < 1000; i++) {
      steady.setWallClock(i % 2 === 0 ? 40 : -40)
      clock.now()
      steady.advance(10)
    }
    expect(clock.now() - before).to.equal(10_000)
  })

  it('calls a timer after its delay, and soon after a suspension', () => {
    const called: number[] = []
    clock.after(25_000, () => called.push(steady.now()))
    const start = steady.now()
    steady.advance(24_999)
    expect(called).to.deep.equal([])
    steady.advance(1)
    expect(called).to.deep.equal([start + 25_000])

    clock.after(25_000, () => called.push(steady.now()))
    suspend(60_000)
    steady.advance(1000)
    expect(called).to.have.length(2)
    expect(steady.pending).to.equal(0)
  })

  it('does not call a cancelled timer', () => {
    const timer = clock.after(25_000, () => expect.fail('cancelled'))
    steady.advance(20_000)
    timer.cancel()
    expect(steady.pending).to.equal(0)
    steady.advance(20_000)
  })
})
