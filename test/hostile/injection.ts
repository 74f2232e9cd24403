/**
 * Every byte that could end a line, a field or a block, in every field of an event and through every writer. What the
 * kit accepts, three foreign parsers must read as exactly the one event that was given; anything else must be refused
 * with a code.
 */

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  channel,
  createMultiplexer,
  createPressure,
  forbidden,
  type Multiplexer,
  openStream,
  SseError,
  type SseEvent,
} from '../../lib/index.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import type { PollAnswer } from '../../lib/wire/contract.js'
import { SseClient } from '../helpers/sse-client.js'
import type { Random } from '../proof/random.js'
import type { Area, Findings } from './area.js'
import { invalidFrame } from './frames.js'
import { BITS, hostileText, hostileValue } from './hostile-text.js'
import { PARSERS, type ParsedEvent } from './parsers.js'

/** On a busy machine the event loop is late. */
const NO_PRESSURE = createPressure({ maxLoopDelayMs: 0 })
/** Cases on one stream. */
const BATCH = 50

function hostileEvent(random: Random): SseEvent {
  const event: Record<string, unknown> = { data: random.chance(0.7) ? hostileText(random, 1) : hostileValue(random) }
  if (random.chance(0.7)) event.event = random.chance(0.9) ? `t${hostileText(random)}` : hostileValue(random)
  if (random.chance(0.3)) event.id = random.chance(0.9) ? `i${hostileText(random)}` : hostileValue(random)
  if (random.chance(0.2)) event.retry = random.pick([0, 1, 5000, -1, 1.5, '1\n', Number.NaN, 2 ** 60, null])
  if (random.chance(0.2)) event.key = random.chance(0.9) ? hostileText(random) : hostileValue(random)
  if (random.chance(0.1)) event.priority = random.pick(['high', 'low', 'normal', hostileText(random), '__proto__'])
  if (random.chance(0.1)) event.ttlMs = random.pick([1, 5000, 0, -1, '1', Number.NaN])
  if (random.chance(0.02))
    event.data = random.pick([undefined, () => 1, Symbol('x'), 1n, 'x'.repeat(1_100_000), cyclic()])
  return (random.chance(0.01) ? hostileValue(random) : event) as SseEvent
}

function cyclic(): unknown {
  const value: Record<string, unknown> = {}
  value.self = value
  return value
}

function expectedOf({ event, data, id }: SseEvent): ParsedEvent {
  const text = typeof data === 'string' ? data.split(/\r\n|\r|\n/).join('\n') : JSON.stringify(data)
  // UTF-8 has no lone surrogates.
  return { type: (event || 'message').toWellFormed(), data: text.toWellFormed(), id: (id ?? '').toWellFormed() }
}

/** @returns whether it was accepted */
async function attempt(write: () => unknown, findings: Findings): Promise<boolean> {
  try {
    await write()
    findings.count('accepted')
    return true
  } catch (error) {
    if (error instanceof SseError) findings.count(error.code)
    else findings.violate(`refused without a code: ${error instanceof Error ? error.stack : String(error)}`)
    return false
  }
}

function compare(bytes: Buffer, expected: readonly ParsedEvent[], withIds: boolean, findings: Findings): void {
  for (const [name, { parse, expected: adapt }] of Object.entries(PARSERS)) {
    const parsed = parse(bytes).filter(({ type }) => !type.startsWith('sse.'))
    let last = ''
    const adapted = expected.flatMap((each) => {
      const event = adapt === undefined ? each : adapt(each, last)
      last = each.id || last
      return event ?? []
    })
    const wrong = adapted.findIndex((event, i) => {
      const seen = parsed[i]
      return seen?.type !== event.type || seen.data !== event.data || (withIds && seen.id !== event.id)
    })
    if (wrong >= 0) findings.violate(`${name} read ${print(parsed[wrong])} instead of ${print(adapted[wrong])}`)
    else if (parsed.length > adapted.length) findings.violate(`${name} read ${print(parsed[adapted.length])} besides`)
  }
}

function print(event: ParsedEvent | undefined): string {
  return JSON.stringify(event)?.slice(0, 300) ?? 'nothing'
}

class Writers {
  readonly multiplexer: Multiplexer = createMultiplexer({
    lingerMs: 0,
    stream: { heartbeatMs: 0, pressure: NO_PRESSURE },
  })
  readonly #server = createServer((req, res) => {
    if (req.url === '/own')
      this.#onOpen?.(
        openStream(req, res, { heartbeatMs: 0, pressure: NO_PRESSURE, queueBytes: 64e6, queueEvents: 1000 }),
      )
    else {
      const name = new URLSearchParams(req.url?.split('?')[1]).get('channel') ?? ''
      const handlers = { poll: this.multiplexer.poll, refuse: this.multiplexer.stream, stream: this.multiplexer.stream }
      const kind = /^\/(\w+)/.exec(req.url ?? '')?.[1] as keyof typeof handlers
      const channelsOf = (): string => {
        if (kind === 'refuse') throw forbidden(name)
        return name
      }
      void handlers[kind].call(this.multiplexer, channelsOf)(req, res, (error) => res.writeHead(500).end(String(error)))
    }
  })
  #onOpen: ((stream: EventStream) => void) | undefined

  async listen(): Promise<string> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async openOwn(url: string): Promise<[EventStream, SseClient]> {
    const opened = new Promise<EventStream>((resolve) => {
      this.#onOpen = resolve
    })
    const client = await SseClient.open(`${url}/own`)
    return [await opened, client]
  }

  async stop(): Promise<void> {
    await this.multiplexer.close()
    this.#server.close()
    this.#server.closeAllConnections()
  }
}

async function ownStream(
  writers: Writers,
  url: string,
  count: number,
  random: Random,
  findings: Findings,
): Promise<void> {
  const [stream, client] = await writers.openOwn(url)
  const expected: ParsedEvent[] = []
  for (let i = 0; i < count; i++) {
    const event = hostileEvent(random)
    if (await attempt(() => stream.send(event), findings)) expected.push(expectedOf(event))
    if (random.chance(0.3))
      await attempt(
        () => stream.comment((random.chance(0.9) ? hostileText(random) : hostileValue(random)) as string),
        findings,
      )
    findings.cases++
  }
  stream.send({ event: 'end', data: '' })
  expected.push({ type: 'end', data: '', id: '' })
  await client.until(({ raw }) => raw.includes('event: end\n'))
  await attempt(() => stream.close(hostileText(random, 1) as never), findings)
  await stream.close()
  await client.ended()
  compare(Buffer.from(client.raw), expected, true, findings)
}

async function channelStream(
  writers: Writers,
  url: string,
  count: number,
  random: Random,
  findings: Findings,
): Promise<void> {
  const { multiplexer } = writers
  const name = channel('c', `${random.below(1e9)}`, random.pick(BITS.filter((bit) => bit.isWellFormed())))
  const query = `channel=${encodeURIComponent(name)}`
  const client = await SseClient.open(`${url}/stream?${query}`)
  const expected: ParsedEvent[] = []
  for (let i = 0; i < count; i++) {
    const event = hostileEvent(random)
    const events = random.chance(0.2) ? [event, { data: i }] : [event]
    const options = random.chance(0.1) ? { idempotencyKey: `${i}${hostileText(random)}` } : {}
    const publish = () =>
      events.length > 1 ? multiplexer.publishMany(name, events, options) : multiplexer.publish(name, event, options)
    if (await attempt(publish, findings))
      expected.push(...events.map((each) => ({ ...expectedOf(each), id: 'the position' })))
    findings.cases++
  }
  await multiplexer.publish(name, { event: 'end', data: '' })
  expected.push({ type: 'end', data: '', id: '' })
  await client.until(({ raw }) => raw.includes('event: end\n'))
  client.close()
  compare(Buffer.from(client.raw), expected, false, findings)
  const wrong = invalidFrame(client.raw)
  if (wrong !== undefined) findings.violate(`the block ${JSON.stringify(wrong.slice(0, 300))}`)
  const polled: ParsedEvent[] = []
  for (let cursor = '', full = true; full; ) {
    const start = cursor === '' ? 'from=earliest' : `cursor=${cursor}`
    const answer = (await (await fetch(`${url}/poll?${query}&${start}`)).json()) as PollAnswer
    polled.push(...answer.events.map(({ event, data }) => ({ type: event, data, id: '' })))
    full = answer.events.length > 0
    cursor = answer.cursor
  }
  const differs = expected.findIndex(({ type, data }, i) => polled[i]?.type !== type || polled[i]?.data !== data)
  if (differs >= 0) findings.violate(`a poll has ${print(polled[differs])} instead of ${print(expected[differs])}`)
}

/** Names of channels, and messages of errors, that come from a client. */
async function names(writers: Writers, url: string, count: number, random: Random, findings: Findings): Promise<void> {
  for (let i = 0; i < count; i++) {
    const text = hostileText(random).toWellFormed().slice(0, 2000)
    const kind = random.pick(['stream', 'poll', 'refuse'])
    const response = await fetch(`${url}/${kind}?channel=${encodeURIComponent(text)}`)
    findings.count(response.status)
    if (response.status >= 500) findings.violate(`${kind} of ${JSON.stringify(text)}: ${response.status}`)
    if (kind === 'refuse') {
      const { detail } = (await response.json()) as { detail: string }
      if (text !== '' && detail !== text)
        findings.violate(`the message ${JSON.stringify(text)} arrived as ${JSON.stringify(detail)}`)
    } else await response.body?.cancel()
    await attempt(() => writers.multiplexer.publish(hostileValue(random) as string, { data: 1 }), findings)
    await attempt(() => channel(hostileText(random), hostileValue(random) as string), findings)
    findings.cases++
  }
}

export const injection: Area = {
  name: 'injection',
  about: 'bytes that end lines, fields and blocks, in every field and through every writer',
  async run(cases, random, findings) {
    const writers = new Writers()
    const url = await writers.listen()
    const kinds = [ownStream, channelStream, ownStream, channelStream, names]
    try {
      for (let done = 0; done < cases; done += BATCH) {
        const run = kinds[(done / BATCH) % kinds.length] as typeof names
        const counted = findings.cases
        await findings.case(
          () => run.name,
          () => run(writers, url, Math.min(BATCH, cases - done), random, findings),
        )
        findings.cases = counted + Math.min(BATCH, cases - done)
      }
    } finally {
      await writers.stop()
    }
  },
}
