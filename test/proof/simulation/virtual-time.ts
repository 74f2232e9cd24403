/**
 * The time of a simulated world. Nothing happens by itself: each timer, each immediate and each network delivery is an
 * event, and `run` executes one event after the other. Between two events Node runs all microtasks and `nextTick`
 * callbacks, as it does between two callbacks of its own loop.
 *
 * `install` replaces the global timers and clocks, so that the kit, ioredis and the test all live in this time.
 */
import type { Clock } from '../../../lib/core/clock.js'

type Callback = () => void

class Event {
  readonly at: number
  readonly order: number
  callback: Callback | undefined

  constructor(at: number, order: number, callback: Callback) {
    this.at = at
    this.order = order
    this.callback = callback
  }
}

/** Like Node's `Timeout` and `Immediate`. */
class Timeout {
  readonly #cancel: () => void
  readonly #restart: () => void

  constructor(cancel: () => void, restart: () => void) {
    this.#cancel = cancel
    this.#restart = restart
  }

  cancel(): void {
    this.#cancel()
  }

  close(): this {
    this.#cancel()
    return this
  }

  refresh(): this {
    this.#restart()
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  hasRef(): boolean {
    return true
  }

  [Symbol.dispose](): void {
    this.#cancel()
  }
}

const nodeSetImmediate = globalThis.setImmediate
/** Events between two looks at the real network, which nothing here uses. */
const TURNS = 100
const WALL_START = 1_700_000_000_000

export class VirtualTime implements Clock {
  readonly #heap: Event[] = []
  #immediates: Event[] = []
  #now = 0
  #order = 0
  events = 0

  now(): number {
    return this.#now
  }

  wallTime(): number {
    return WALL_START + Math.floor(this.#now)
  }

  after(delayMs: number, callback: Callback): { cancel(): void } {
    const event = this.#schedule(delayMs, callback)
    return { cancel: () => this.#cancel(event) }
  }

  /** Like `setImmediate`. */
  soon(callback: Callback): Event {
    const event = new Event(this.#now, ++this.#order, callback)
    this.#immediates.push(event)
    return event
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#schedule(ms, resolve)
    })
  }

  /**
   * Executes events until `done`. @returns `false`: the limit was reached first, or no events remain
   * @param limitMs in virtual time, from now
   */
  run(done: () => boolean, limitMs: number): Promise<boolean> {
    const until = this.#now + limitMs
    return new Promise((resolve, reject) => {
      let ended = false
      const turn = (): void => {
        if (ended) return
        try {
          const isDone = done()
          if (!isDone && this.#step(until)) return
          ended = true
          resolve(isDone)
        } catch (error) {
          ended = true
          reject(error)
        }
      }
      // Node empties both queues after each immediate, and looks for input and output only after all of them.
      const turns = (): void => {
        if (ended) return
        for (let i = 0; i < TURNS; i++) nodeSetImmediate(turn)
        nodeSetImmediate(turns)
      }
      turns()
    })
  }

  /** Executes the next event. @returns `false`: there is none before `until` */
  #step(until: number): boolean {
    const event = this.#next()
    if (event === undefined || event.at > until) {
      if (event !== undefined) this.#push(event)
      this.#now = Math.max(this.#now, until)
      return false
    }
    this.events++
    this.#now = Math.max(this.#now, event.at)
    const { callback } = event
    event.callback = undefined
    callback?.()
    return true
  }

  /** The pending timers. */
  get pending(): number {
    return this.#heap.filter(({ callback }) => callback !== undefined).length
  }

  /** Replaces the global timers and clocks. @returns a function that restores Node's own */
  install(): () => void {
    const own = {
      setTimeout: (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) =>
        this.#timeout(ms ?? 1, () => callback(...args), false),
      setInterval: (callback: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) =>
        this.#timeout(ms ?? 1, () => callback(...args), true),
      setImmediate: (callback: (...args: unknown[]) => void, ...args: unknown[]) => {
        const event = this.soon(() => callback(...args))
        return new Timeout(() => this.#cancel(event), noop)
      },
      clearTimeout: clear,
      clearInterval: clear,
      clearImmediate: clear,
    }
    const former = Object.fromEntries(Object.keys(own).map((name) => [name, Reflect.get(globalThis, name)]))
    const { now: dateNow } = Date
    Object.assign(globalThis, own)
    Date.now = () => this.wallTime()
    Object.assign(performance, { now: () => this.#now })
    return () => {
      Object.assign(globalThis, former)
      Date.now = dateNow
      Reflect.deleteProperty(performance, 'now')
    }
  }

  #timeout(ms: number, callback: Callback, repeats: boolean): Timeout {
    let event: Event
    const start = (): void => {
      event = this.#schedule(Math.max(1, ms), () => {
        if (repeats) start()
        callback()
      })
    }
    start()
    const cancel = (): void => this.#cancel(event)
    return new Timeout(cancel, () => {
      cancel()
      start()
    })
  }

  #schedule(delayMs: number, callback: Callback): Event {
    const event = new Event(this.#now + Math.max(0, delayMs), ++this.#order, callback)
    this.#push(event)
    return event
  }

  #cancel(event: Event): void {
    event.callback = undefined
  }

  /** Immediates run before timers, because the time does not advance for them. */
  #next(): Event | undefined {
    for (let event = this.#immediates.shift(); event !== undefined; event = this.#immediates.shift()) {
      if (event.callback !== undefined) return event
    }
    for (let event = this.#pop(); event !== undefined; event = this.#pop()) {
      if (event.callback === undefined) continue
      return event
    }
    return undefined
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (isBefore(heap[parent] as Event, event)) break
      heap[at] = heap[parent] as Event
      at = parent
    }
    heap[at] = event
  }

  #pop(): Event | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (heap.length === 0 || last === undefined) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
      if (isBefore(last, heap[child] as Event)) break
      heap[at] = heap[child] as Event
      at = child
    }
    heap[at] = last
    return first
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.at < other.at || (one.at === other.at && one.order < other.order)
}

function clear(timeout: unknown): void {
  if (timeout instanceof Timeout) timeout.cancel()
}

function noop(): void {
  // An immediate cannot be restarted.
}
