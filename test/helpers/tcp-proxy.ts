import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { Transform } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

export interface HeldRequests {
  readonly bytes: () => number
  readonly release: () => void
}

/** A TCP proxy that can stop forwarding without closing: the connections are half-open, as after a lost route. */
export class TcpProxy {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #upstreams = new Set<Socket>()
  readonly #pairs = new Map<Socket, Socket>()
  #splitter: (() => Transform) | undefined

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const server = createServer()
    const proxy = new TcpProxy(server)
    server.on('connection', (client) => proxy.#join(client, targetPort))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** The existing connections stay open but forward nothing. New connections work. */
  freeze(): void {
    for (const socket of this.#sockets) socket.unpipe().pause()
  }

  /** Drops the replies of the target on the existing connections. Requests still arrive. */
  dropAnswers(): void {
    for (const upstream of this.#upstreams) upstream.unpipe().resume()
  }

  /** Closes the side to the client. What the client sends still arrives at the target. */
  halfClose(): void {
    for (const client of this.#pairs.keys()) client.end()
  }

  /** Cuts the existing connections in the middle of the next answer. */
  truncateAnswers(): void {
    for (const [client, upstream] of this.#pairs) {
      upstream.unpipe()
      upstream.once('data', (chunk: Buffer) => {
        client.end(chunk.subarray(0, chunk.length >> 1))
        upstream.destroy()
      })
      upstream.resume()
    }
  }

  /**
   * From now on new connections forward their bytes in pieces.
   * @param length yields the length of the next piece, in bytes; `undefined`: forward chunks as they come
   * @param delay yields the time to wait before the next piece, in ms
   */
  splitNewConnections(length: (() => number) | undefined, delay: () => number = () => 0): void {
    this.#splitter = length && (() => splitter(length, delay))
  }

  /**
   * Holds back the requests on the existing connections, like a slow network. They arrive when they are released, even
   * if the connection to the client has broken meanwhile.
   */
  holdRequests(): HeldRequests {
    const releases: (() => void)[] = []
    let bytes = 0
    for (const [client, upstream] of this.#pairs) {
      const chunks: Buffer[] = []
      client.unpipe()
      client.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.length
      })
      client.resume()
      client.removeAllListeners('close')
      this.#sockets.delete(upstream)
      releases.push(() => upstream.write(Buffer.concat(chunks)))
    }
    return {
      bytes: () => bytes,
      release: () => {
        for (const release of releases) release()
      },
    }
  }

  breakConnections(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    this.breakConnections()
    for (const upstream of this.#upstreams) upstream.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(client: Socket, targetPort: number): void {
    const upstream = connect(targetPort, '127.0.0.1')
    const split = this.#splitter
    if (split === undefined) {
      client.pipe(upstream)
      upstream.pipe(client)
    } else {
      client.setNoDelay()
      upstream.setNoDelay()
      client.pipe(split()).pipe(upstream)
      upstream.pipe(split()).pipe(client)
    }
    this.#upstreams.add(upstream)
    this.#pairs.set(client, upstream)
    client.on('close', () => this.#pairs.delete(client))
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        this.#sockets.delete(socket)
        this.#upstreams.delete(socket)
      })
    }
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  }
}

function splitter(length: () => number, delay: () => number): Transform {
  return new Transform({
    async transform(chunk: Buffer, _encoding, done) {
      for (let from = 0; from < chunk.length; ) {
        const to = from + length()
        const ms = delay()
        // Without a turn in between, the pieces would be written as one.
        await (ms > 0 ? sleep(ms) : new Promise(setImmediate))
        this.push(chunk.subarray(from, to))
        from = to
      }
      done()
    },
  })
}
