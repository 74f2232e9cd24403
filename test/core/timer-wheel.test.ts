import { AsyncLocalStorage } from 'node:async_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect } from 'chai'
import fc from 'fast-check'
import { systemClock } from '../../lib/core/system-clock.js'
import { TimerWheel } from '../../lib/core/timer-wheel.js'

const TICK = 50

import { eventually } from '../helpers/eventually.js'

describe('the timer wheel', () => {
  it('fires each timer once, at the first tick at or after its time, and no cancelled timer', () => {
    const timer = fc.record({ delay: fc.integer({ min: 0, max: 60_000 }), cancelled: fc.boolean() })
    fc.assert(
      fc.property(
        fc.array(timer, { maxLength: 50 }),
        fc.array(fc.integer({ min: 1, max: 9000 }), { maxLength: 20 }),
        (timers, steps) => {
          const wheel = new TimerWheel(TICK)
          const fired = new Map<number, number>()
          let now = 0
          const set = timers.map(({ delay }, i) => wheel.schedule(delay, () => fired.set(i, now)))
          set.forEach((it, i) => {
            if (timers[i]?.cancelled) it.cancel()
          })
          for (const step of [...steps, 100_000]) {
            const before = now
            now += step
            wheel.advance(now)
            timers.forEach(({ delay, cancelled }, i) => {
              const due = Math.max(Math.ceil(delay / TICK), 1) * TICK
              const firedNow = fired.get(i) === now
              expect(firedNow, `timer ${i} of ${delay} at ${now}`).to.equal(
                !cancelled && due > before - (before % TICK) && due <= now - (now % TICK),
              )
            })
          }
          expect(wheel.size).to.equal(0)
        },
      ),
    )
  })

  it('returns a time to wake up, not later than the next timer is due', () => {
    const wheel = new TimerWheel(TICK)
    expect(wheel.nextMs).to.equal(undefined)
    const late = wheel.schedule(700 * TICK, () => undefined)
    expect(wheel.nextMs).to.equal((700 - 512) * TICK)
    wheel.advance(200 * TICK)
    expect(wheel.nextMs).to.equal(700 * TICK)
    const soon = wheel.schedule(300 * TICK - 1, () => undefined)
    expect(wheel.nextMs).to.equal(300 * TICK)
    soon.cancel()
    expect(wheel.nextMs).to.equal(700 * TICK)
    late.cancel()
    expect(wheel.nextMs).to.equal(undefined)
  })

  it('keeps timers of later turns in their slot, in order, while others are set and cancelled', () => {
    const wheel = new TimerWheel(TICK)
    const fired: string[] = []
    const set = (name: string, tick: number) => wheel.schedule(tick * TICK, () => fired.push(name))
    set('second turn', 513)
    const cancelled = set('cancelled', 513)
    wheel.schedule(TICK, () => {
      fired.push('first turn')
      set('set meanwhile', 513)
      cancelled.cancel()
    })
    set('third turn', 1025)
    wheel.advance(512 * TICK)
    expect(fired).to.deep.equal(['first turn'])
    wheel.advance(1025 * TICK)
    expect(fired.slice(1)).to.deep.equal(['second turn', 'set meanwhile', 'third turn'])
    expect(wheel.size).to.equal(0)
  })

  it('supports delays beyond 2³¹−1 ms', () => {
    const wheel = new TimerWheel(1000)
    let fired = false
    wheel.schedule(2 ** 31 + 5000, () => {
      fired = true
    })
    wheel.advance(2 ** 31)
    expect(fired).to.equal(false)
    wheel.advance(2 ** 31 + 6000)
    expect(fired).to.equal(true)
  })

  it('lets a timer set another one, and cancel one that is due in the same tick', () => {
    const wheel = new TimerWheel(TICK)
    const fired: string[] = []
    wheel.schedule(10, () => {
      fired.push('first')
      second.cancel()
      wheel.schedule(0, () => fired.push('third'))
    })
    const second = wheel.schedule(20, () => fired.push('second'))
    wheel.advance(TICK)
    wheel.advance(2 * TICK)
    expect(fired).to.deep.equal(['first', 'third'])
    second.cancel()
    expect(wheel.size).to.equal(0)
  })
})

describe('the system clock', () => {
  it('fires outside the async context of the request that set the timer', async () => {
    const storage = new AsyncLocalStorage<string>()
    const set = (request: string): Promise<string | undefined> =>
      storage.run(
        request,
        () => new Promise((resolve) => void systemClock.after(20, () => resolve(storage.getStore()))),
      )
    expect(await Promise.all([set('first'), set('second')])).to.deep.equal([undefined, undefined])
  })

  it('retains no object of the request that set a timer', async () => {
    setFlagsFromString('--expose-gc')
    const collectGarbage = runInNewContext('gc') as () => void
    const storage = new AsyncLocalStorage<object>()
    const later = () => undefined
    const [store, timer] = (() => {
      const request = {}
      return [new WeakRef(request), storage.run(request, () => systemClock.after(3_600_000, later))] as const
    })()
    await eventually(() => {
      collectGarbage()
      return store.deref() === undefined
    })
    timer.cancel()
  })

  it('fires in time, also after an idle period', async () => {
    for (let round = 0; round < 2; round++) {
      const before = systemClock.now()
      await new Promise<void>((resolve) => systemClock.after(20, resolve))
      expect(systemClock.now() - before).to.be.at.least(20)
    }
  })

  it('fires a timer that is set later and due earlier', async () => {
    const fired: string[] = []
    const late = systemClock.after(400, () => fired.push('late'))
    await new Promise<void>((resolve) => {
      systemClock.after(20, () => {
        fired.push('soon')
        resolve()
      })
    })
    late.cancel()
    expect(fired).to.deep.equal(['soon'])
  })
})
