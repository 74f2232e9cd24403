// For the many thousands of steps: `assert` costs a tenth of `expect`.
import assert from 'node:assert/strict'
import { expect } from 'chai'
import fc from 'fast-check'
import type { Priority } from '../../lib/core/message.js'
import { BoundedQueue, type Drops, QUEUE_POLICIES, type QueuePolicy } from '../../lib/stream/bounded-queue.js'
import { Blocks } from '../../lib/wire/blocks.js'

interface Event {
  readonly number: number
  readonly bytes: number
  readonly priority: Priority
  readonly key: string | undefined
  readonly expiresAt: number
}

const BOUNDS = { queueEvents: 5, queueBytes: 100 }
const LANES: readonly Priority[] = ['high', 'normal', 'low']

/** Minimal implementations of the policies, following their documentation. */
class Model {
  waiting: Event[] = []
  readonly drops: Record<string, number> = {}
  readonly dropped: number[] = []
  readonly #policy: QueuePolicy

  constructor(policy: QueuePolicy) {
    this.#policy = policy
  }

  offer(event: Event, now: number): boolean {
    if (this.#policy === 'coalesce' && event.key) this.#dropAll('coalesced', (each) => each.key === event.key)
    if (!this.#fits(event)) this.#dropAll('expired', (each) => each.expiresAt <= now)
    while (!this.#fits(event)) {
      const victim = event.bytes > BOUNDS.queueBytes ? undefined : this.#victim(event)
      if (victim === undefined) {
        this.#note('queue_full', event)
        return false
      }
      this.#dropAll('queue_full', (each) => each === victim)
    }
    this.waiting.push(event)
    return true
  }

  take(now: number): Event | undefined {
    for (;;) {
      const [next] = this.#inOrder()
      if (next === undefined) return undefined
      this.waiting = this.waiting.filter((each) => each !== next)
      if (next.expiresAt > now) return next
      this.#note('expired', next)
    }
  }

  /** In the form of `blocksOf`. */
  printTaken(now: number): string {
    const event = this.take(now)
    const overtook = this.waiting.some(({ number }) => number < (event?.number ?? 0))
    return event ? `${overtook ? '-' : '#'}${event.number}` : 'none'
  }

  #inOrder(): Event[] {
    if (this.#policy !== 'drop-low-priority') return this.waiting
    return LANES.flatMap((lane) => this.waiting.filter(({ priority }) => priority === lane))
  }

  #victim({ priority }: Event): Event | undefined {
    if (this.#policy === 'drop-oldest' || this.#policy === 'coalesce') return this.waiting[0]
    if (this.#policy !== 'drop-low-priority') return undefined
    const lowest = LANES.filter((lane) => lane === priority || this.waiting.some((each) => each.priority === lane)).at(
      -1,
    )
    return this.waiting.find((each) => each.priority === lowest)
  }

  #fits({ bytes }: Event): boolean {
    const sum = this.waiting.reduce((total, each) => total + each.bytes, bytes)
    return this.waiting.length < BOUNDS.queueEvents && sum <= BOUNDS.queueBytes
  }

  #dropAll(reason: string, which: (event: Event) => boolean): void {
    const gone = this.waiting.filter(which)
    this.waiting = this.waiting.filter((each) => !which(each))
    for (const event of gone) this.#note(reason, event)
  }

  #note(reason: string, { number }: Event): void {
    this.dropped.push(number)
    this.drops[reason] = (this.drops[reason] ?? 0) + 1
  }
}

const steps = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constant('offer' as const),
      bytes: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 10, max: 40 }) }, fc.constant(101)),
      priority: fc.constantFrom(...LANES),
      key: fc.constantFrom(undefined, 'a', 'b'),
      ttlMs: fc.integer({ min: 1, max: 50 }),
    }),
    fc.record({ do: fc.constant('take' as const) }),
    fc.record({ do: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 20 }) }),
  ),
  { minLength: 30, maxLength: 100, size: 'max' },
)

/** Blocks that show the number of their event, and whether they have its id. */
function blocksOf({ number, bytes }: Event) {
  const text = (mark: string) => Blocks.of(Buffer.from(`${mark}${number}`.padEnd(bytes)))
  return { block: text('#'), bare: text('-') }
}

/** The drops that a queue has reported. */
class Reports {
  readonly byReason: Record<string, number> = {}

  add(drops: readonly Drops[]): void {
    for (const { reason, count } of drops) this.byReason[reason] = (this.byReason[reason] ?? 0) + count
  }

  get sum(): number {
    return Object.values(this.byReason).reduce((total, count) => total + count, 0)
  }
}

/** Takes the next event, after the reports before it, as a stream does. */
function taken(queue: BoundedQueue, now: number, reports: Reports): string {
  const next = queue.peek(now)
  reports.add(queue.takeDrops())
  if (next === undefined) return 'none'
  queue.take()
  return next.bytes.toString().trim()
}

/** The number of an event that was taken; the greatest number for `none`. */
function numberOf(printed: string): number {
  return printed === 'none' ? Number.MAX_VALUE : Number(printed.slice(1))
}

/** The id of an event includes the events that were dropped before it. */
function assertReported(printed: string, reports: Reports, { dropped }: Model): void {
  if (printed.startsWith('-')) return
  assert.equal(reports.sum, dropped.filter((lost) => lost < numberOf(printed)).length)
}

describe('a bounded queue', () => {
  for (const policy of QUEUE_POLICIES.filter((each) => each !== 'drop-random')) {
    it(`with ${policy} keeps, drops and reports the events that its description names`, () => {
      fc.assert(
        fc.property(steps, (sequence) => {
          const queue = new BoundedQueue({ queuePolicy: policy, ...BOUNDS })
          const model = new Model(policy)
          let now = 0
          const reports = new Reports()
          sequence.forEach((step, number) => {
            if (step.do === 'pass') now += step.ms
            if (step.do === 'take') {
              const printed = taken(queue, now, reports)
              assert.equal(printed, model.printTaken(now))
              assertReported(printed, reports, model)
            }
            if (step.do === 'offer') {
              const event = { ...step, number, expiresAt: now + step.ttlMs }
              assert.equal(queue.offer({ ...event, ...blocksOf(event) }, now), model.offer(event, now))
            }
            assert.equal(queue.length, model.waiting.length)
            assert.equal(
              queue.bytes,
              model.waiting.reduce((sum, { bytes }) => sum + bytes, 0),
            )
          })
          expect(queue.dropped).to.equal(Object.values(model.drops).reduce((sum, count) => sum + count, 0))
          reports.add(queue.takeAllDrops())
          expect(reports.byReason).to.deep.equal(model.drops)
          expect(queue.takeAllDrops()).to.deep.equal([])
        }),
        { numRuns: 300 },
      )
    })
  }

  it('with drop-random keeps its bounds and its order, and every event has the same chance', () => {
    const kept = new Array<number>(100).fill(0)
    for (let round = 0; round < 400; round++) {
      const queue = new BoundedQueue({ queuePolicy: 'drop-random', queueEvents: 10, queueBytes: 10_000 })
      for (let number = 0; number < 100; number++) {
        const event = { number, bytes: 10, priority: 'normal' as const, key: undefined, expiresAt: 1000 }
        assert.equal(queue.offer({ ...event, ...blocksOf(event) }, 0), true)
        assert.ok(queue.length <= 10)
      }
      const left: number[] = []
      const reports = new Reports()
      for (let next = taken(queue, 0, reports); next !== 'none'; next = taken(queue, 0, reports)) {
        expect(reports.sum + left.length, 'each event before this one was sent or reported').to.equal(numberOf(next))
        left.push(numberOf(next))
      }
      expect(left).to.deep.equal([...left].sort((a, b) => a - b))
      expect(left).to.have.length(10)
      for (const number of left) kept[number] = (kept[number] ?? 0) + 1
      expect(reports.byReason).to.deep.equal({ queue_full: 90 })
    }
    // The newest event always waits. An older one survives each drop with 90 %, so the oldest are the rarest.
    expect(kept[99]).to.equal(400)
    expect(kept.slice(0, 50).reduce((a, b) => a + b)).to.be.lessThan(kept.slice(50, 100).reduce((a, b) => a + b))
    expect(kept.slice(80, 90).every((count) => count > 0)).to.equal(true)
  })

  it('holds nothing if its bounds are 0', () => {
    for (const queuePolicy of QUEUE_POLICIES) {
      const queue = new BoundedQueue({ queuePolicy, queueEvents: 0, queueBytes: 100 })
      const event = { number: 1, bytes: 10, priority: 'high' as const, key: 'a', expiresAt: 1000 }
      expect(queue.offer({ ...event, ...blocksOf(event) }, 0)).to.equal(false)
    }
  })

  it('reports the times of the first and the last drop', () => {
    const queue = new BoundedQueue({ queuePolicy: 'drop-newest', queueEvents: 1, queueBytes: 100 })
    for (const now of [5, 10, 20]) {
      const event = { number: now, bytes: 10, priority: 'high' as const, key: 'a', expiresAt: 1000 }
      queue.offer({ ...event, ...blocksOf(event) }, now)
    }
    expect(queue.takeDrops(), 'they follow the event that waits').to.deep.equal([])
    queue.take()
    expect(queue.takeDrops()).to.deep.equal([{ count: 2, reason: 'queue_full', from: 10, to: 20 }])
  })
})
