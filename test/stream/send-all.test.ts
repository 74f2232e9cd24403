import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'chai'
import compression from 'compression'
import express, { type Request, type Response } from 'express'
import { diagnostics } from '../../lib/core/diagnostics.js'
import type { SseError } from '../../lib/core/errors.js'
import type { SseEvent } from '../../lib/core/message.js'
import { createPacing } from '../../lib/limits/pacing/pacing.js'
import { sseErrors } from '../../lib/routers/errors.js'
import { sseMiddleware } from '../../lib/routers/sse-middleware.js'
import type { EventStream } from '../../lib/stream/event-stream.js'
import type { SendAllResult } from '../../lib/stream/feed.js'
import type { StreamOptions } from '../../lib/stream/options.js'
import { eventually } from '../helpers/eventually.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import { range } from '../helpers/range.js'
import { isReleased, RELEASE_MS } from '../helpers/released.js'
import { SseClient } from '../helpers/sse-client.js'

const LARGE = 'x'.repeat(10_000)

/** Counts what was requested of it, and notes whether it was released. */
class Source {
  pulled = 0
  released = false
  readonly #pad: string

  constructor(pad = '') {
    this.#pad = pad
  }

  async *events(count: number, pause: () => unknown = () => undefined): AsyncGenerator<SseEvent> {
    try {
      while (this.pulled < count) {
        await pause()
        yield { data: `${++this.pulled} ${this.#pad}` }
      }
    } finally {
      this.released = true
    }
  }
}

const numbersOf = ({ messages }: SseClient): number[] => messages.map(({ data }) => Number.parseInt(data, 10))
const failureOf = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail('it did not fail'),
    (error: SseError) => error,
  )
const never = (): Promise<never> => new Promise(() => undefined)

describe('a stream that is fed by its application', () => {
  let server: TestServer
  let client: SseClient
  let stream: EventStream
  let request: Request
  let sockets: Socket[]
  /** Errors that `sseErrors` reported. */
  let reported: unknown[]
  /** Runs in the route of the next stream. */
  let route: (stream: EventStream, req: Request, res: Response) => unknown
  let options: StreamOptions

  beforeEach(async () => {
    reported = []
    options = { heartbeatMs: 0 }
    route = () => undefined
    const app = express()
    app.use('/compressed', compression({ threshold: 0 }))
    app.use(sseMiddleware({ queueEvents: 5 }))
    app.all(/.*/, async (req, res) => {
      request = req
      stream = res.sse(options)
      await route(stream, req, res)
    })
    app.use(sseErrors({ onError: (error) => reported.push(error) }))
    server = await serve(app)
    sockets = []
    server.server.on('connection', (socket) => sockets.push(socket))
  })
  afterEach(async () => {
    client?.close()
    await server.stop()
  })

  async function open(path = '/', method = 'GET'): Promise<void> {
    client = await SseClient.open(`${server.url}${path}`, {}, method)
  }

  /** Until the socket and the kernel's buffers are full. @returns the number of requested events */
  async function full(source: Source): Promise<number> {
    let before = -1
    await eventually(async () => {
      const isSame = before === source.pulled && source.pulled > 0
      before = source.pulled
      await sleep(50)
      return isSame
    })
    return source.pulled
  }

  for (const path of ['/', '/compressed']) {
    it(`sends every event to a client that reads, and then the last one, on ${path}`, async () => {
      await open(path)
      const source = new Source()
      expect(await stream.sendAll(source.events(3000))).to.deep.equal({ sent: 3000, reason: 'done' })
      await stream.end({ event: 'end', data: 'all' })
      await client.ended()
      expect(numbersOf(client).slice(0, -1)).to.deep.equal(range(1, 3000))
      expect(client.events.slice(-2).map(({ event }) => event)).to.deep.equal(['end', 'sse.close'])
      expect(client.events.some(({ event }) => event === 'sse.dropped')).to.equal(false)
      expect(source.released).to.equal(true)
    })

    it(`requests no more than the client takes, and loses nothing, on ${path}`, async () => {
      await open(path)
      client.pause()
      // Random data does not compress.
      const source = new Source(path === '/' ? LARGE : range(1, 2000).map(Math.random).join(''))
      const result = stream.sendAll(source.events(3000))
      const pulled = await full(source)
      expect(pulled).to.be.below(3000)
      expect(request.socket.writableLength, 'bytes in the socket').to.be.below(200_000)
      expect(stream.status().queued).to.equal(0)
      client.resume()
      expect(await result).to.deep.equal({ sent: 3000, reason: 'done' })
      void stream.end()
      await client.ended()
      expect(numbersOf(client)).to.deep.equal(range(1, 3000))
    })
  }

  it('takes arrays, other iterables and Web streams', async () => {
    await open()
    const readable = new ReadableStream<SseEvent>({
      start(controller) {
        for (const data of [5, 6]) controller.enqueue({ data })
        controller.close()
      },
    })
    const set = new Set([{ data: 3 }, { data: 4 }])
    for (const events of [[{ data: 1 }, { data: 2 }], set, readable]) {
      expect(await stream.sendAll(events)).to.deep.equal({ sent: 2, reason: 'done' })
    }
    await client.messagesUntil(6)
    expect(numbersOf(client)).to.deep.equal(range(1, 6))
  })

  it('keeps each event of several feeds and of `send` that run at the same time', async () => {
    await open()
    client.pause()
    const sources = range(1, 3).map(() => new Source(LARGE))
    const results = Promise.all(sources.map((source) => stream.sendAll(source.events(400))))
    await full(sources[0] as Source)
    expect(stream.send({ data: '0 sent' })).to.equal('queued')
    client.resume()
    for (const result of await results) expect(result).to.deep.equal({ sent: 400, reason: 'done' })
    await client.messagesUntil(1201)
    const numbers = numbersOf(client).sort((a, b) => a - b)
    expect(numbers).to.deep.equal([0, ...range(1, 400).flatMap((n) => [n, n, n])])
  })

  for (const when of ['in the turn in which it opens', 'later']) {
    it(`gets every event of a burst, if the client reads: sent ${when}`, async () => {
      const data = 'x'.repeat(100)
      const results = new Set<string>()
      const burst = (opened: EventStream): void => {
        for (const n of range(1, 2000)) results.add(opened.send({ data: `${n} ${data}` }))
      }
      if (when === 'later') route = async (opened) => burst(await sleep(20, opened))
      else route = burst
      await open()
      await client.messagesUntil(2000)
      expect([...results]).to.deep.equal(['sent'])
      expect(numbersOf(client)).to.deep.equal(range(1, 2000))
    })
  }

  it('lets other requests be answered while a source has everything at once', async () => {
    await open()
    let pulled = 0
    let stop = false
    function* endless(): Generator<SseEvent> {
      while (!stop) yield { data: ++pulled }
    }
    const result = stream.sendAll(endless())
    const other = await SseClient.open(server.url)
    other.close()
    await client.messagesUntil(1000)
    stop = true
    expect(await result).to.deep.equal({ sent: pulled, reason: 'done' })
  })

  for (const wrap of ['corked', 'returns nothing'] as const) {
    it(`is fed only as its client takes events, with a response that is ${wrap}`, async () => {
      route = (_, __, res) => {
        const write = res.write.bind(res) as (chunk: Uint8Array) => boolean
        if (wrap === 'returns nothing') res.write = ((chunk: Uint8Array) => void write(chunk)) as never
        else {
          res.cork()
          setTimeout(() => res.uncork(), 50)
        }
      }
      await open()
      client.pause()
      const source = new Source(LARGE)
      const result = stream.sendAll(source.events(3000))
      expect(await full(source)).to.be.below(3000)
      client.resume()
      expect(await result).to.deep.equal({ sent: 3000, reason: 'done' })
      await client.messagesUntil(3000)
      expect(numbersOf(client)).to.deep.equal(range(1, 3000))
    })
  }

  it('has released its request after a second, and keeps it so while it is fed', async () => {
    route = async (opened) => {
      await sleep(RELEASE_MS + 300)
      await opened.sendAll(new Source('x'.repeat(1000)).events(300))
    }
    await open()
    const [socket] = sockets as [Socket]
    await eventually(() => isReleased(socket))
    await client.messagesUntil(300)
    await sleep(50)
    expect(isReleased(socket)).to.equal(true)
  })

  it('may have many feeds without a warning', async () => {
    const warnings: Error[] = []
    const note = (warning: Error) => warnings.push(warning)
    process.on('warning', note)
    await open()
    const results = range(1, 20).map(() => stream.sendAll(new Source().events(5, () => sleep(5))))
    for (const result of results) expect((await result).sent).to.equal(5)
    await sleep(5)
    process.off('warning', note)
    expect(warnings).to.deep.equal([])
  })

  it('is fed as fast as its pacing allows', async () => {
    const clock = new FakeClock()
    options = {
      clock,
      heartbeatMs: 0,
      pacing: createPacing({ stream: { capacity: 2, refillPerSecond: 1 } }, { clock }),
    }
    await open()
    const source = new Source()
    const result = stream.sendAll(source.events(5))
    for (const n of range(2, 5)) {
      await client.messagesUntil(n)
      await sleep(20)
      expect(client.messages).to.have.length(n)
      clock.advance(1000)
    }
    expect(await result).to.deep.equal({ sent: 5, reason: 'done' })
  })

  describe('releases the source if', () => {
    it('the client leaves while it does not read', async () => {
      await open()
      client.pause()
      const source = new Source(LARGE)
      const result = stream.sendAll(source.events(10_000))
      await full(source)
      client.close()
      const { sent, reason } = await result
      expect(reason).to.equal('client_gone')
      expect(sent).to.be.within(source.pulled - 1, source.pulled)
      await eventually(() => source.released)
    })

    it('the client leaves while the next event is awaited', async () => {
      await open()
      const source = new Source()
      const result = stream.sendAll(source.events(10, () => source.pulled < 2 || never()))
      await client.messagesUntil(2)
      client.close()
      expect(await result).to.deep.equal({ sent: 2, reason: 'client_gone' })
    })

    it('the client leaves, and a Web stream is cancelled although a read is pending', async () => {
      await open()
      let cancelled: () => void = () => undefined
      const whenCancelled = new Promise<void>((resolve) => {
        cancelled = resolve
      })
      const readable = new ReadableStream<SseEvent>({
        start: (controller) => controller.enqueue({ data: 1 }),
        pull: never,
        cancel: () => cancelled(),
      })
      const result = stream.sendAll(readable)
      await client.messagesUntil(1)
      client.close()
      expect(await result).to.deep.equal({ sent: 1, reason: 'client_gone' })
      await whenCancelled
    })

    it('the client leaves, and a Readable of Node is destroyed although it has nothing', async () => {
      await open()
      const readable = new Readable({ objectMode: true, read: () => undefined })
      readable.push({ data: 1 })
      const result = stream.sendAll(readable)
      await client.messagesUntil(1)
      client.close()
      expect(await result).to.deep.equal({ sent: 1, reason: 'client_gone' })
      await eventually(() => readable.destroyed)
    })

    it('the stream closes, and takes no rejection of it for an error', async () => {
      await open()
      const source = new Source()
      const { signal } = stream
      const aborted = (): Promise<unknown> =>
        source.pulled < 1 ? Promise.resolve() : sleep(60_000, undefined, { signal })
      const result = stream.sendAll(source.events(10, aborted))
      await client.messagesUntil(1)
      void stream.close('max_age')
      expect(await result).to.deep.equal({ sent: 1, reason: 'max_age' })
      await eventually(() => source.released)
    })

    it('its signal aborts. The stream stays open', async () => {
      await open()
      const source = new Source()
      const controller = new AbortController()
      const result = stream.sendAll(
        source.events(10, () => source.pulled < 1 || never()),
        { signal: controller.signal },
      )
      await client.messagesUntil(1)
      controller.abort()
      expect(await result).to.deep.equal({ sent: 1, reason: 'aborted' })
      const unread = new Source()
      expect(await stream.sendAll(unread.events(3), { signal: controller.signal })).to.include({ reason: 'aborted' })
      expect(unread.pulled).to.equal(0)
      expect(stream.send({ data: 2 })).to.equal('sent')
    })

    it('an event is invalid. The stream stays open', async () => {
      await open()
      let released = false
      function* events(): Generator<SseEvent> {
        try {
          yield { data: 1 }
          yield { event: 'a\nb', data: 2 }
        } finally {
          released = true
        }
      }
      expect((await failureOf(stream.sendAll(events()))).code).to.equal('ERR_SSE_EVENT_INVALID')
      expect(released).to.equal(true)
      await stream.end({ data: 2 })
      await client.ended()
      expect(numbersOf(client)).to.deep.equal([1, 2])
    })

    it('the stream is closed already: nothing is requested', async () => {
      const source = new Source()
      let result: Promise<SendAllResult> | undefined
      route = (opened) => {
        result = opened.sendAll(source.events(3))
      }
      await open('/', 'HEAD')
      expect(await result).to.deep.equal({ sent: 0, reason: 'head' })
      expect(source.pulled).to.equal(0)
    })
  })

  it('reports an error of the release to diagnostics', async () => {
    const errors: unknown[] = []
    const note = (message: unknown) => errors.push(message)
    diagnostics.callbackError.subscribe(note)
    await open()
    const fault = new Error('cannot be released')
    const iterator = { next: never, return: () => Promise.reject(fault) }
    const result = stream.sendAll({ [Symbol.asyncIterator]: () => iterator })
    await sleep(1)
    void stream.close()
    expect(await result).to.deep.equal({ sent: 0, reason: 'ended' })
    await eventually(() => errors.length === 1)
    diagnostics.callbackError.unsubscribe(note)
    expect(errors).to.deep.equal([{ operation: 'sendAll', error: fault }])
  })

  it('passes an error of the source on, and stays open', async () => {
    await open()
    const fault = new Error('no model')
    async function* events(): AsyncGenerator<SseEvent> {
      yield { data: 1 }
      throw fault
    }
    expect(await failureOf(stream.sendAll(events()))).to.equal(fault)
    const failing = new ReadableStream<SseEvent>({ start: (controller) => controller.error(fault) })
    expect(await failureOf(stream.sendAll(failing))).to.equal(fault)
    expect(stream.send({ data: 2 })).to.equal('sent')
  })

  it('refuses what it cannot send, or a wrong signal', async () => {
    await open()
    for (const events of [undefined, null, 5, {}, () => []]) {
      const error = await failureOf(stream.sendAll(events as never))
      expect([error.code, error.message]).to.deep.equal([
        'ERR_SSE_OPTION_INVALID',
        'sendAll() needs an iterable, an async iterable or a ReadableStream of events',
      ])
    }
    for (const options of [null, { signal: {} }]) {
      expect((await failureOf(stream.sendAll([], options as never))).code).to.equal('ERR_SSE_OPTION_INVALID')
    }
    const locked = new ReadableStream<SseEvent>()
    locked.getReader()
    expect(await failureOf(stream.sendAll(locked))).to.be.instanceOf(TypeError)
    const strange = { [Symbol.iterator]: () => ({ next: () => undefined }) }
    expect(await failureOf(stream.sendAll(strange as never))).to.be.instanceOf(TypeError)
  })

  describe('as a WritableStream', () => {
    const readableOf = (source: Source, count: number, pause?: () => unknown) =>
      ReadableStream.from(source.events(count, pause))

    it('takes each event of a pipe, and closes with it', async () => {
      await open()
      client.pause()
      const source = new Source(LARGE)
      const piped = readableOf(source, 1000).pipeTo(stream.writable)
      expect(await full(source)).to.be.below(1000)
      client.resume()
      await piped
      await client.ended()
      expect(numbersOf(client)).to.deep.equal(range(1, 1000))
      expect(client.events.at(-1)?.event).to.equal('sse.close')
    })

    it('cancels the pipe when the client leaves, which is no error of the route', async () => {
      const source = new Source()
      let piped: Promise<void> | undefined
      let cancelled = false
      route = (opened) => {
        const readable = new ReadableStream<SseEvent>({
          start: (controller) => controller.enqueue({ data: 1 }),
          pull: never,
          cancel: () => {
            cancelled = true
          },
        })
        piped = readable.pipeTo(opened.writable)
        return piped
      }
      await open()
      await client.messagesUntil(1)
      client.close()
      const error = await failureOf(piped as Promise<void>)
      expect([error.code, error.message]).to.deep.equal(['ERR_SSE_CLOSED', 'The stream has closed: client_gone'])
      await eventually(() => cancelled)
      await sleep(20)
      expect(reported).to.deep.equal([])
      expect(source.pulled).to.equal(0)
    })

    it('closes with an error if the source fails', async () => {
      const fault = new Error('no model')
      route = (opened) =>
        new ReadableStream<SseEvent>({ start: (controller) => controller.error(fault) }).pipeTo(opened.writable)
      await open()
      expect(JSON.parse((await client.control('sse.reconnect')).data)).to.include({ reason: 'error' })
      await client.ended()
      expect(stream.closeReason).to.equal('error')
      await eventually(() => reported.length === 1)
      expect(reported).to.deep.equal([fault])
    })

    it('refuses an invalid event', async () => {
      await open()
      const writer = stream.writable.getWriter()
      expect((await failureOf(writer.write({ event: 'a\nb', data: 1 }))).code).to.equal('ERR_SSE_EVENT_INVALID')
      expect(stream.writable).to.equal(stream.writable)
    })
  })

  describe('resolves drained()', () => {
    it('with true when the client takes events again', async () => {
      await open()
      client.pause()
      let sent = 0
      while (stream.send({ data: LARGE }) === 'sent' || request.socket.writableLength === 0) {
        sent++
        await sleep(0)
      }
      let drained = false
      const result = stream.drained().then((is) => {
        drained = true
        return is
      })
      await sleep(50)
      expect(drained).to.equal(false)
      expect(stream.status().queued).to.equal(1)
      client.resume()
      expect(await result).to.equal(true)
      expect(stream.status()).to.include({ queued: 0, sent: sent + 1 })
      expect(await stream.drained()).to.equal(true)
    })

    it('with false when the stream has closed', async () => {
      await open()
      client.pause()
      while (stream.send({ data: LARGE }) !== 'queued') await sleep(0)
      const result = stream.drained()
      client.close()
      expect(await result).to.equal(false)
      expect(await stream.drained()).to.equal(false)
    })
  })

  describe('ends', () => {
    it('at once, before what the application does next', async () => {
      route = (opened) => {
        opened.send({ data: 1 })
        void opened.end({ data: 2 })
        expect(opened.closeReason).to.equal('completed')
        expect(opened.send({ data: 3 })).to.equal('closed')
      }
      await open()
      await client.ended()
      expect(numbersOf(client)).to.deep.equal([1, 2])
    })

    it('after the events that wait in the queue', async () => {
      await open()
      client.pause()
      let n = 0
      while (stream.status().queued < 5) {
        stream.send({ data: `${++n} ${LARGE}` })
        await sleep(0)
      }
      const ended = stream.end({ data: n + 1 })
      expect(stream.closeReason).to.equal(undefined)
      client.resume()
      await ended
      await client.ended()
      expect(numbersOf(client)).to.deep.equal(range(1, n + 1))
      expect(client.events.at(-1)?.event).to.equal('sse.close')
    })

    it('not for an invalid event', async () => {
      await open()
      expect((await failureOf(stream.end({ event: 'sse.x', data: 1 }))).code).to.equal('ERR_SSE_EVENT_INVALID')
      expect(stream.send({ data: 2 })).to.equal('sent')
    })

    it('without the event if the stream has closed before', async () => {
      await open()
      client.pause()
      while (stream.send({ data: LARGE }) !== 'queued') await sleep(0)
      const ended = stream.end({ data: 'last' })
      client.close()
      await ended
      expect(stream.closeReason).to.equal('client_gone')
    })

    describe('for a client that reads slowly', () => {
      const clock = new FakeClock()
      let response: IncomingMessage
      let text: string

      /** Ends the stream with a large event, most of which waits in the process then. */
      beforeEach(async () => {
        options = { clock, heartbeatMs: 0, closeGraceMs: 1000, stallMs: 10_000, maxEventBytes: 50_000_000 }
        const pending = get(server.url, { agent: false })
        ;[response] = (await once(pending, 'response')) as [IncomingMessage]
        response.on('error', () => undefined)
        text = ''
        void stream.end({ data: 'y'.repeat(40_000_000) })
        expect(stream.closeReason).to.equal('completed')
        expect(waiting(), 'bytes that wait in the process').to.be.above(20_000_000)
      })
      afterEach(() => response.destroy())

      async function read(): Promise<void> {
        const chunk = response.read() as Buffer | null
        if (chunk !== null) text = `${text}${chunk}`.slice(-1000)
        await sleep(1)
      }

      /** The bytes that the kernel has not taken from the process. */
      function waiting(): number {
        const { _handle: handle } = request.socket as unknown as { _handle?: { writeQueueSize: number } }
        return handle?.writeQueueSize ?? 0
      }

      /** Reads until the kernel has taken bytes from the process. */
      async function progress(): Promise<void> {
        const before = waiting()
        while (waiting() === before) await read()
      }

      it('for longer than closeGraceMs, and it gets everything', async () => {
        for (const _ of range(1, 3)) {
          await progress()
          clock.advance(3000)
          expect(request.socket.destroyed).to.equal(false)
        }
        while (!response.readableEnded) await read()
        expect(text).to.match(/y\n\nretry: 3000\nid: sse\.completed\nevent: sse\.close\n.*\n\n$/)
      })

      it('until stallMs have passed', async () => {
        clock.advance(9999)
        await progress()
        expect(request.socket.destroyed).to.equal(false)
        clock.advance(1)
        expect(request.socket.destroyed).to.equal(true)
      })
    })
  })
})
