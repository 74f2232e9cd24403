import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server, type Http2Server } from 'node:http2'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect } from 'chai'
import { Exchange } from '../../lib/http/exchange.js'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

describe('an exchange', () => {
  let server: Server | Http2Server

  afterEach((done) => {
    if ('closeAllConnections' in server) server.closeAllConnections()
    server.close(() => done())
  })

  async function listen(): Promise<number> {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  /** @returns a listener, and a function that waits for the exchange of a request */
  function exchanges(onRequest: (res: ServerResponse, index: number) => void = () => undefined) {
    const all: Exchange[] = []
    const waiting: (() => void)[] = []
    const listener = (req: IncomingMessage, res: ServerResponse): void => {
      all.push(new Exchange(req, res))
      onRequest(res, all.length - 1)
      for (const resolve of waiting.splice(0)) resolve()
    }
    const get = async (index: number): Promise<Exchange> => {
      while (all[index] === undefined) await new Promise<void>((resolve) => waiting.push(resolve))
      return all[index]
    }
    return { listener, get }
  }

  async function dial(port: number, text: string): Promise<Socket> {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    socket.write(text)
    return socket
  }

  const over = (exchange: Exchange): Promise<void> => new Promise((resolve) => exchange.onOver(resolve))

  it('is over when its response is finished, while the connection stays open', async () => {
    const { listener, get } = exchanges((res) => setImmediate(() => res.end('x')))
    server = createServer(listener)
    const socket = await dial(await listen(), GET)
    const exchange = await get(0)
    expect(exchange.over).to.equal(false)
    await over(exchange)
    expect(exchange.over).to.equal(true)
    socket.write(GET)
    expect((await get(1)).over).to.equal(false)
    socket.destroy()
  })

  it('is over when the connection is lost, also if it is pipelined behind an unanswered request', async () => {
    const { listener, get } = exchanges()
    server = createServer(listener)
    const socket = await dial(await listen(), GET.repeat(30))
    const all = await Promise.all([get(0), get(1), get(29)])
    for (const exchange of all) expect(exchange.over).to.equal(false)
    const ends = Promise.all(all.map(over))
    socket.destroy()
    await ends
    for (const exchange of all) expect(exchange.over).to.equal(true)
  })

  it('is over when its response is destroyed before its turn; the connection ends at its turn', async () => {
    const responses: ServerResponse[] = []
    const { listener, get } = exchanges((res) => responses.push(res))
    server = createServer(listener)
    const socket = await dial(await listen(), GET.repeat(3))
    const [byKit, byApplication] = [await get(1), await get(2)]
    const ends = Promise.all([over(byKit), over(byApplication)])
    byKit.destroy()
    responses[2]?.destroy()
    await ends
    expect([byKit.over, byApplication.over]).to.deep.equal([true, true])
    socket.resume()
    responses[0]?.end()
    await once(socket, 'close')
  })

  for (const kind of ['HTTP/1.1', 'HTTP/1.1, pipelined behind an open response', 'HTTP/2, unread'] as const) {
    it(`reports the end of its response synchronously in res.end(), on ${kind}`, async () => {
      const count = kind.includes('pipelined') ? 2 : 1
      const responses: ServerResponse[] = []
      const { listener, get } = exchanges((res) => responses.push(res))
      server = kind === 'HTTP/2, unread' ? createHttp2Server(listener as never) : createServer(listener)
      const port = await listen()
      const client =
        kind === 'HTTP/2, unread' ? connectHttp2(`http://127.0.0.1:${port}`) : await dial(port, GET.repeat(count))
      client.on('error', () => undefined)
      if ('request' in client) {
        const request = client.request()
        request.on('error', () => undefined)
        request.pause()
      }
      const exchange = await get(count - 1)
      const res = responses[count - 1] as ServerResponse
      const endedOn: unknown[] = []
      exchange.onEnded(function () {
        endedOn.push(this)
      })
      res.write('x'.repeat(1_000_000))
      expect(endedOn).to.deep.equal([])
      res.end()
      expect(endedOn[0] === res).to.equal(true)
      await new Promise<void>((resolve) => exchange.onEnded(() => resolve()))
      client.destroy()
    })
  }

  it('notifies each listener once, except removed ones', async () => {
    const { listener, get } = exchanges()
    server = createServer(listener)
    const socket = await dial(await listen(), GET.repeat(2))
    const queued = await get(1)
    let removed = 0
    let kept = 0
    queued.onOver(() => removed++)()
    queued.onOver(() => kept++)
    const end = over(queued)
    socket.destroy()
    await end
    await new Promise(setImmediate)
    expect({ removed, kept }).to.deep.equal({ removed: 0, kept: 1 })
  })

  it('also notifies a listener that is added afterwards', async () => {
    const { listener, get } = exchanges((res) => res.end('x'))
    server = createServer(listener)
    const socket = await dial(await listen(), GET)
    const exchange = await get(0)
    await over(exchange)
    await over(exchange)
    socket.destroy()
  })

  it('is over on HTTP/2 when the client resets its stream, and when the client disconnects', async () => {
    const { listener, get } = exchanges()
    server = createHttp2Server(listener as never)
    const client = connectHttp2(`http://127.0.0.1:${await listen()}`)
    client.on('error', () => undefined)
    const [first, second] = [client.request(), client.request()]
    for (const request of [first, second]) request.on('error', () => undefined)
    const [reset, left] = [await get(0), await get(1)]
    expect(reset.over).to.equal(false)
    const resetOver = over(reset)
    first.close(8)
    await resetOver
    expect([reset.over, left.over]).to.deep.equal([true, false])
    const leftOver = over(left)
    client.destroy()
    await leftOver
    await over(left)
    expect(left.over).to.equal(true)
  })

  it('can be destroyed repeatedly, on HTTP/1 and HTTP/2', async () => {
    const { listener, get } = exchanges()
    server = createServer(listener)
    const socket = await dial(await listen(), GET)
    const exchange = await get(0)
    exchange.destroy()
    exchange.destroy()
    await over(exchange)
    await once(socket, 'close')
    server.close()

    const other = exchanges()
    server = createHttp2Server(other.listener as never)
    const client = connectHttp2(`http://127.0.0.1:${await listen()}`)
    client.request().on('error', () => undefined)
    const second = await other.get(0)
    second.destroy()
    second.destroy()
    await over(second)
    client.destroy()
  })
})
