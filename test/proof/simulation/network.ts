/**
 * A simulated network: connections with delays, limited buffers and faults. An endpoint is a stream like Node's socket,
 * so Node's own HTTP server and client and ioredis run on it.
 */
import { Duplex } from 'node:stream'
import type { Random } from '../random.js'
import type { VirtualTime } from './virtual-time.js'

/** The time until an operating system detects a dead peer, in ms. Shorter than in reality, longer than heartbeats. */
const TCP_TIMEOUT_MS = 20_000

/** How a connection behaves. */
export interface Quality {
  /** The one-way delay, in ms: at least and at most. Drawn for each delivery. */
  readonly delayMs: readonly [number, number]
  /** The number of bytes in transit or unread after which a write waits. */
  readonly bufferBytes: number
  /** The maximum size of one delivery: larger writes are split. 0: no splitting. */
  readonly splitBytes: number
}

/** Bytes from one endpoint to the other. */
class Direction {
  /** Received by the host, not read yet. */
  readonly waiting: Buffer[] = []
  bytes = 0
  /** The last delivery: bytes do not overtake each other. */
  lastAt = 0
  readonly onTheWay: (() => void)[] = []
  /** Set while a write waits for room. */
  onRoom: ((error?: Error) => void) | undefined
  /** The receiver wants bytes. */
  wanted = false
}

type State = 'connecting' | 'open' | 'dead'

export class Link {
  readonly client: Endpoint
  readonly server: Endpoint
  readonly name: string
  readonly #time: VirtualTime
  readonly #random: Random
  readonly #quality: Quality
  readonly #directions: readonly [Direction, Direction] = [new Direction(), new Direction()]
  #state: State = 'connecting'
  /** Nothing is delivered and no end is detected: the peer or the path failed silently. */
  #blackHole = false
  /** Deliveries wait until then. */
  #heldUntil = 0

  constructor(name: string, time: VirtualTime, random: Random, quality: Quality) {
    this.name = name
    this.#time = time
    this.#random = random
    this.#quality = quality
    this.client = new Endpoint(this, 0)
    this.server = new Endpoint(this, 1)
  }

  /** Establishes the connection. @param accept gets the server's endpoint */
  open(accept: (endpoint: Endpoint) => void): void {
    this.client.connecting = true
    this.#after(() => {
      if (this.#state === 'dead' || this.client.destroyed) return
      this.#state = 'open'
      accept(this.server)
      this.#after(() => {
        if (this.client.destroyed) return
        this.client.connecting = false
        this.client.emit('connect')
      })
    })
  }

  refuse(): void {
    this.client.connecting = true
    this.#state = 'dead'
    this.#after(() => this.client.destroy(socketError('ECONNREFUSED')))
  }

  /** Both sides detect that the connection is lost. Bytes in transit are lost. */
  cut(): void {
    if (this.#state === 'dead') return
    this.#state = 'dead'
    for (const endpoint of [this.client, this.server]) {
      this.#after(() => endpoint.destroy(socketError('ECONNRESET')))
    }
  }

  get isBlackHole(): boolean {
    return this.#blackHole
  }

  /**
   * Stops all deliveries. Neither side detects this until its operating system closes the connection, after
   * `timeoutMs`.
   */
  blackHole(timeoutMs = TCP_TIMEOUT_MS): void {
    this.#blackHole = true
    this.#time.after(timeoutMs, () => {
      for (const endpoint of [this.client, this.server]) endpoint.destroy(socketError('ETIMEDOUT'))
    })
  }

  /** Delays all bytes that are in transit or are sent in the next `ms`. */
  hold(ms: number): void {
    this.#heldUntil = Math.max(this.#heldUntil, this.#time.now() + ms)
  }

  write(side: 0 | 1, chunk: Buffer, done: (error?: Error) => void): void {
    if (this.#state === 'dead') {
      done(socketError('EPIPE'))
      return
    }
    const direction = this.#directions[side]
    const { splitBytes, bufferBytes } = this.#quality
    const size = splitBytes === 0 ? chunk.length : splitBytes
    for (let at = 0; at < chunk.length; at += size) this.#deliver(side, chunk.subarray(at, at + size))
    direction.bytes += chunk.length
    if (direction.bytes <= bufferBytes) done()
    else direction.onRoom = done
  }

  /** Sends the end after all bytes. */
  end(side: 0 | 1): void {
    this.#inOrder(side, () => {
      const peer = this.#peer(side)
      const direction = this.#directions[side]
      if (direction.waiting.length === 0) peer.push(null)
      else peer.endsAfterWaiting = true
    })
  }

  /** One side has destroyed its endpoint: the other side gets an end, and an error if it still writes. */
  destroyed(side: 0 | 1): void {
    if (this.#state === 'dead') return
    this.#state = 'dead'
    this.#inOrder(side, () => {
      const peer = this.#peer(side)
      if (!peer.destroyed) peer.destroy(this.#directions[1 - side]?.bytes ? socketError('ECONNRESET') : undefined)
    })
  }

  /** A timer of the host. */
  after(ms: number, callback: () => void): { cancel(): void } {
    return this.#time.after(ms, callback)
  }

  wants(side: 0 | 1): void {
    const direction = this.#directions[(1 - side) as 0 | 1]
    direction.wanted = true
    this.#flush((1 - side) as 0 | 1)
  }

  #deliver(side: 0 | 1, chunk: Buffer): void {
    this.#inOrder(side, () => {
      this.#directions[side].waiting.push(chunk)
      this.#flush(side)
    })
  }

  /** Passes received bytes to the reader. */
  #flush(side: 0 | 1): void {
    const direction = this.#directions[side]
    const peer = this.#peer(side)
    while (direction.wanted && direction.waiting.length > 0) {
      const chunk = direction.waiting.shift() as Buffer
      direction.bytes -= chunk.length
      peer.active()
      if (!peer.push(chunk)) direction.wanted = false
    }
    if (direction.waiting.length === 0 && peer.endsAfterWaiting) {
      peer.endsAfterWaiting = false
      peer.push(null)
    }
    if (direction.bytes > this.#quality.bufferBytes) return
    const { onRoom } = direction
    direction.onRoom = undefined
    if (onRoom !== undefined) this.#time.soon(() => onRoom())
  }

  #peer(side: 0 | 1): Endpoint {
    return side === 0 ? this.server : this.client
  }

  #inOrder(side: 0 | 1, callback: () => void): void {
    const direction = this.#directions[side]
    direction.onTheWay.push(callback)
    direction.lastAt = Math.max(direction.lastAt, this.#time.now() + this.#delay())
    this.#arrive(direction, direction.lastAt)
  }

  /** The first bytes in transit arrive at this time, or when the connection is not held any more. */
  #arrive(direction: Direction, at: number): void {
    this.#time.after(at - this.#time.now(), () => {
      if (this.#heldUntil > this.#time.now()) return this.#arrive(direction, this.#heldUntil)
      const callback = direction.onTheWay.shift()
      if (!this.#blackHole) callback?.()
    })
  }

  #after(callback: () => void): void {
    const delay = Math.max(this.#delay(), this.#heldUntil - this.#time.now())
    this.#time.after(delay, () => {
      if (!this.#blackHole) callback()
    })
  }

  #delay(): number {
    const [least, most] = this.#quality.delayMs
    return least + this.#random.next() * (most - least)
  }
}

/** The members of a socket that Node's HTTP and ioredis use. */
export class Endpoint extends Duplex {
  connecting = false
  readonly remoteAddress = '127.0.0.1'
  readonly remotePort = 1
  bytesWritten = 0
  endsAfterWaiting = false
  readonly link: Link
  readonly #side: 0 | 1
  #timeoutMs = 0
  #idle: { cancel(): void } | undefined

  constructor(link: Link, side: 0 | 1) {
    super({
      allowHalfOpen: side === 1,
      emitClose: true,
      autoDestroy: true,
      readableHighWaterMark: 16_384,
      writableHighWaterMark: 16_384,
    })
    this.link = link
    this.#side = side
    // The peer may break the connection before it is accepted.
    if (side === 1) this.on('error', () => undefined)
  }

  override _read(): void {
    this.link.wants(this.#side)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.bytesWritten += chunk.length
    this.active()
    this.link.write(this.#side, chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.link.end(this.#side)
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#timeoutMs = 0
    this.#schedule()
    this.link.destroyed(this.#side)
    done(error)
  }

  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /** As Node's sockets: `timeout` is emitted after `ms` without a byte. 0: never. */
  setTimeout(ms: number, callback?: () => void): this {
    if (callback !== undefined && ms === 0) this.off('timeout', callback)
    else if (callback !== undefined) this.once('timeout', callback)
    this.#timeoutMs = ms
    this.#schedule()
    return this
  }

  /** Bytes were sent or received. */
  active(): void {
    if (this.#idle !== undefined) this.#schedule()
  }

  #schedule(): void {
    this.#idle?.cancel()
    this.#idle = this.#timeoutMs === 0 ? undefined : this.link.after(this.#timeoutMs, () => this.emit('timeout'))
  }

  setKeepAlive(): this {
    return this
  }

  setNoDelay(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }
}

function socketError(code: string): Error {
  return Object.assign(new Error(code), { code, syscall: 'simulated' })
}
