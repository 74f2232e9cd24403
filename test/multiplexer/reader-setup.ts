/** Shared by the tests of readers: a controllable stream, log and network, and random sequences of steps. */
// `assert` for the many thousands of steps: it costs a tenth of `expect`.
import assert from 'node:assert/strict'
import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import type { SendResult } from '../../lib/core/message.js'
import { systemClock } from '../../lib/core/system-clock.js'
import { Channel } from '../../lib/multiplexer/channel/channel.js'
import { catchUpWith } from '../../lib/multiplexer/channel/registry.js'
import type { StartPosition } from '../../lib/multiplexer/reader/positions.js'
import { resumePositions } from '../../lib/multiplexer/reader/resume.js'
import { type ReaderStream, StreamReader } from '../../lib/multiplexer/reader/stream-reader.js'
import type { StreamSource } from '../../lib/stream/source.js'
import type { Blocks } from '../../lib/wire/blocks.js'
import { parseCursor } from '../../lib/wire/cursor.js'
import { encodePublished } from '../../lib/wire/encode.js'
import { UnrulyBroker } from '../helpers/unruly-broker.js'

/** For readers whose end nobody awaits. */
export const NO_USER = { onReaderClosed: (): void => undefined }

/** A stream whose socket and pace the test controls. */
export class SmallStream implements ReaderStream {
  readonly whenBehind = 'replay'
  readonly holdsEntries = false
  readonly written: Buffer[] = []
  closed = false
  #source: StreamSource | undefined
  #room = Number.POSITIVE_INFINITY
  #tokens = Number.POSITIVE_INFINITY
  #pacedOut = false
  #granted = 0

  get hasCredit(): boolean {
    return this.#room > 0 && !this.#pacedOut
  }

  get paced(): boolean {
    return this.#tokens !== Number.POSITIVE_INFINITY
  }

  spend(events: number): boolean {
    assert.ok(this.hasCredit, 'spend was called on a stream without credit')
    this.#pacedOut = events === 1 && this.#tokens < 1
    if (this.#tokens < events) return false
    this.#tokens -= events
    this.#granted = events
    return true
  }

  write({ bytes }: Blocks, events: number): boolean {
    assert.ok(this.hasCredit, 'write was called without credit')
    assert.equal(events, this.#granted, 'write was called without credit')
    this.#granted = 0
    this.written.push(bytes)
    this.#room--
    return this.hasCredit
  }

  close(): void {
    this.closed = true
  }

  attach(source: StreamSource): void {
    this.#source = source
  }

  offer(): SendResult {
    return 'sent'
  }

  /** Accepts this many more writes. */
  allow(writes: number): void {
    const wasFull = !this.hasCredit
    this.#room = writes
    if (wasFull && this.hasCredit) this.#source?.onDrain()
  }

  /** Grants this many more events. */
  grant(events: number): void {
    const { hasCredit } = this
    this.#tokens = events
    this.#pacedOut = false
    if (!hasCredit && this.hasCredit) this.#source?.onDrain()
  }

  /** The ids of the events written so far. */
  ids(): string[] {
    const ids: string[] = []
    const parser = createParser({ onEvent: ({ id }) => id !== undefined && ids.push(id) })
    parser.feed(Buffer.concat(this.written).toString())
    return ids
  }

  /** The events as a client receives them: numbers, and control events as objects. */
  seen(): unknown[] {
    const seen: unknown[] = []
    const parser = createParser({
      onEvent: ({ event, data }) => seen.push(event ? { event, ...JSON.parse(data) } : Number(data)),
    })
    parser.feed(Buffer.concat(this.written).toString())
    return seen
  }
}

export const OPTIONS = { tailBytes: 2000, tailEntries: 2 }
export const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class Setup {
  readonly broker: UnrulyBroker
  readonly channel: Channel
  readonly stream = new SmallStream()
  reader: StreamReader | undefined
  published = 0
  acknowledged = 0

  constructor(historySize = 10_000, options = OPTIONS) {
    this.broker = new UnrulyBroker({ historySize })
    this.channel = new Channel('log', this.broker, systemClock, options)
  }

  async open(cursor?: string, window?: number): Promise<void> {
    await this.channel.open()
    const starts = await this.startsFrom(cursor)
    this.reader = new StreamReader(this.stream, starts, NO_USER, window)
    this.reader.begin()
  }

  /** The start positions of a request with this cursor. */
  async startsFrom(text?: string, earliest = false): Promise<readonly StartPosition[]> {
    const cursor = parseCursor(text)
    await this.whileReleasing(Promise.resolve(cursor && catchUpWith(cursor, [this.channel])))
    return resumePositions([this.channel], cursor, earliest)
  }

  /** The client has handled this many more events. */
  acknowledge(count: number): void {
    const ids = this.stream.ids()
    this.acknowledged = Math.min(ids.length, this.acknowledged + count)
    const id = ids[this.acknowledged - 1]
    if (id !== undefined) this.reader?.acknowledge(parseCursor(id) ?? [])
  }

  async publish(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.broker.publish('log', encodePublished({ data: ++this.published }))
  }

  async whileReleasing<T>(promise: Promise<T>): Promise<T> {
    let done = false
    const settled = promise.finally(() => {
      done = true
    })
    while (!done) {
      this.broker.release()
      await soon()
    }
    return settled
  }

  /** All pending deliveries and reads complete, and the socket and the pace have no limit. */
  async settle(): Promise<void> {
    this.stream.allow(Number.POSITIVE_INFINITY)
    this.stream.grant(Number.POSITIVE_INFINITY)
    for (let calm = 0; calm < 5; calm++) {
      if (!this.broker.idle) calm = 0
      this.broker.deliver(1000)
      this.broker.release()
      await soon()
    }
  }
}

export type Step =
  | { readonly do: 'publish' | 'deliver' | 'allow' | 'grant' | 'release' | 'acknowledge'; readonly count: number }
  | { readonly do: 'interrupt' | 'swallow' | 'tick' | 'lose' }

export const steps = (kinds: readonly Step['do'][]): fc.Arbitrary<Step[]> =>
  fc.array(fc.record({ do: fc.constantFrom(...kinds), count: fc.integer({ min: 0, max: 12 }) }) as fc.Arbitrary<Step>, {
    minLength: 20,
    maxLength: 80,
    size: 'max',
  })

async function take(step: Step, setup: Setup): Promise<void> {
  const { broker, stream } = setup
  switch (step.do) {
    case 'publish':
      return setup.publish(step.count)
    case 'deliver':
      return broker.deliver(step.count)
    case 'allow':
      return stream.allow(step.count)
    case 'grant':
      return stream.grant(step.count)
    case 'release':
      return broker.release(step.count)
    case 'acknowledge':
      return setup.acknowledge(step.count)
    case 'interrupt':
      return broker.interrupt('log')
    case 'swallow':
      return broker.swallow()
    case 'lose':
      return broker.lose()
    case 'tick':
      return soon()
  }
}

/** @param check called before each step */
export async function run(setup: Setup, sequence: readonly Step[], check?: () => void): Promise<void> {
  for (const step of sequence) {
    check?.()
    await take(step, setup)
  }
  // The next entry shows that an entry was swallowed.
  if (sequence.some((step) => step.do === 'swallow')) await setup.publish(1)
  await setup.settle()
}

export const ORDINARY = [
  'publish',
  'publish',
  'deliver',
  'deliver',
  'allow',
  'release',
  'release',
  'interrupt',
  'tick',
] as const
