import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect } from 'chai'
import { eventually } from '../helpers/eventually.js'
import { isInstalled } from '../helpers/proxies.js'
import { PROXIES, type ProxyKind } from '../helpers/proxy-kinds.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'
import { HEARTBEAT_MS, ProxiedKit, type ProxiedKitOptions } from './proxied-kit.js'

/** The idle time-out of the proxies where it is tested. */
const IDLE_SECONDS = 5

/** The streams that are idle while the other tests run. */
interface IdleStreams {
  readonly kit: ProxiedKit
  readonly withHeartbeats: SseClient
  readonly withoutHeartbeats: SseClient
}

/** Needs the proxies on the PATH (Debian: apt-get install nginx haproxy caddy varnish apache2-bin). */
describe('the configurations of proxies', () => {
  const kits = new Map<string, ProxiedKit>()
  const idle = new Map<string, IdleStreams>()
  const stops: (() => Promise<void>)[] = []

  before(async function () {
    this.timeout(120_000)
    const installed = Object.entries(PROXIES).filter(([, kind]) => isInstalled(kind))
    const starts = installed.flatMap(([name, kind]) => [startKit(name, kind), startIdle(name, kind)])
    // All must have started, or failed, before they are stopped.
    for (const start of await Promise.allSettled(starts)) if (start.status === 'rejected') throw start.reason
  })
  after(async () => {
    await Promise.all(stops.map((stop) => stop()))
  })

  async function start(kind: ProxyKind, options: ProxiedKitOptions = {}): Promise<ProxiedKit> {
    const kit = await ProxiedKit.start(kind, options)
    stops.push(() => kit.stop())
    return kit
  }

  async function startKit(name: string, kind: ProxyKind): Promise<void> {
    kits.set(name, await start(kind))
  }

  async function startIdle(name: string, kind: ProxyKind): Promise<void> {
    const kit = await start(kind, { idleSeconds: IDLE_SECONDS })
    const open = async (path: string): Promise<SseClient> => {
      const client = await kit.proxy.open(path)
      await client.control('sse.open')
      return client
    }
    idle.set(name, {
      kit,
      withHeartbeats: await open('/api/orders'),
      withoutHeartbeats: await open('/api/silent'),
    })
  }

  for (const [name, kind] of Object.entries(PROXIES)) {
    describeInstalled(kind, `${kind.file}: ${name}`, () => {
      const kit = (): ProxiedKit => kits.get(name) as ProxiedKit
      const clients: SseClient[] = []

      afterEach(async () => {
        for (const client of clients.splice(0)) client.close()
        await eventually(() => kit().streams === 0)
      })

      async function open(path = '/api/orders', headers: Record<string, string> = {}): Promise<SseClient> {
        const client = await kit().proxy.open(path, headers)
        clients.push(client)
        return client
      }

      async function received(client: SseClient): Promise<string> {
        await client.ended()
        return client.raw
      }

      const publish = (data: unknown) => kit().multiplexer.publish('orders', { data })

      it('passes each event on without waiting for more bytes', async () => {
        const client = await open()
        expect(client.headers).to.include({ 'content-type': 'text/event-stream' })
        await client.control('sse.open')
        for (const n of range(1, 5)) {
          await publish(n)
          await client.messagesUntil(n)
        }
      })

      it('passes Last-Event-ID on, and the stream resumes', async () => {
        const first = await open()
        await first.control('sse.open')
        await publish('before')
        await first.messagesUntil(1)
        first.close()
        await publish('meanwhile')
        const second = await open('/api/orders', { 'last-event-id': first.lastEventId })
        await publish('after')
        await second.messagesUntil(2)
        expect(second.messages.map(({ data }) => data)).to.deep.equal(['meanwhile', 'after'])
      })

      it('ends the stream at the kit when the client leaves', async () => {
        // Heartbeats would end it too, because they cannot be written to the client.
        const client = await open(kind.noticesLeaving ? '/api/silent' : '/api/orders')
        await client.control('sse.open')
        expect(kit().streams).to.equal(1)
        client.close()
        await eventually(() => kit().streams === 0)
      })

      it('keeps an idle stream with heartbeats for two idle time-outs, and cuts one without', async function () {
        this.timeout(60_000)
        const { kit, withHeartbeats, withoutHeartbeats } = idle.get(name) as IdleStreams
        await withoutHeartbeats.ended()
        expect(withoutHeartbeats.events.map(({ event }) => event)).to.deep.equal(['sse.open'])
        const heartbeats = (2 * IDLE_SECONDS * 1000) / HEARTBEAT_MS + 1
        await withHeartbeats.until(({ raw }) => raw.split('\n:\n').length > heartbeats)
        await kit.multiplexer.publish('orders', { data: 'late' })
        await withHeartbeats.messagesUntil(1)
      })

      it('ends the response when the connection to the kit breaks', async () => {
        const client = await open()
        await client.control('sse.open')
        kit().breakStreams()
        await client.ended()
        expect(client.events.map(({ event }) => event)).to.deep.equal(['sse.open'])
      })

      it('passes the 204 of a completed stream on', async () => {
        const answer = await open('/api/orders', { 'last-event-id': 'sse.completed' })
        expect(await received(answer)).to.equal('')
        expect(answer.status).to.equal(204)
      })

      it("adds the client's address to those that the client claims", async () => {
        const answer = await open('/api/request', { 'x-forwarded-for': '203.0.113.7' })
        const { headers, version } = JSON.parse(await received(answer))
        expect(headers['x-forwarded-for'].split(/, ?/).at(-1)).to.equal('127.0.0.1')
        expect(version).to.equal('1.1')
      })

      if (kind.forProduction) {
        it('keeps its connections to the kit', async () => {
          const { headers } = JSON.parse(await received(await open('/api/request', { accept: '*/*' })))
          expect(headers.connection ?? 'keep-alive').to.match(/^keep-alive$/i)
        })

        it('compresses other responses, but not streams', async () => {
          const compressed = { 'accept-encoding': 'gzip' }
          const other = await open('/api/request', { ...compressed, accept: '*/*' })
          await received(other)
          expect(other.headers['content-encoding']).to.equal('gzip')

          // So that the first bytes are more than the least that a proxy compresses.
          const start = await kit().multiplexer.cursor(['orders'])
          await publish('x'.repeat(4000))
          const client = await open('/api/orders', { ...compressed, 'last-event-id': start })
          expect(client.headers).not.to.have.property('content-encoding')
          for (const n of range(2, 5)) {
            await client.messagesUntil(n - 1)
            await publish(n)
          }
          await client.messagesUntil(5)
        })
      }

      if (kind.informational) {
        for (const status of [100, 102, 103]) {
          it(`passes a stream on after an informational response with status ${status}`, async () => {
            const client = await open(`/api/informed/${status}`)
            expect(client.status).to.equal(200)
            await client.control('sse.open')
          })
        }
      }

      if (!('http2' in kind && kind.http2)) {
        it('passes each event on to a client with HTTP/1.0, without chunks', async () => {
          const socket = connect(Number(new URL(kit().proxy.url).port), '127.0.0.1')
          const head = ['GET /api/orders HTTP/1.0', 'Host: 127.0.0.1', 'Accept: text/event-stream', '', '']
          socket.write(head.join('\r\n'))
          await readUntil(socket, 'event: sse.open')
          const answer = readUntil(socket, 'data: 1\n')
          await publish(1)
          expect(await answer).not.to.contain('\r')
          socket.destroy()
        })
      }
    })
  }

  const nginx = PROXIES.nginx as ProxyKind
  describeInstalled(nginx, 'nginx with its defaults (HTTP/1.0 to the kit, proxy_buffering on)', () => {
    const defaults = { 'proxy_http_version 1.1;': '', "proxy_set_header Connection '';": '' }

    it('passes each event on, because the kit sends X-Accel-Buffering', async () => {
      const kit = await start(nginx, { parts: defaults })
      const client = await kit.proxy.open('/api/orders')
      for (const n of range(1, 5)) {
        await kit.multiplexer.publish('orders', { data: n })
        await client.messagesUntil(n)
      }
      client.close()
    })

    it('holds the whole stream back if it ignores this header', async () => {
      const ignoring = { 'proxy_buffering on;': 'proxy_ignore_headers X-Accel-Buffering;' }
      const kit = await start(nginx, { parts: { ...defaults, ...ignoring } })
      let answered = false
      const opening = kit.proxy.open('/api/orders').then((client) => {
        answered = true
        return client
      })
      await eventually(() => kit.streams === 1)
      const direct = await SseClient.open(`${kit.url}/api/orders`)
      await direct.control('sse.open')
      for (const n of range(1, 5)) {
        await kit.multiplexer.publish('orders', { data: n })
        await direct.messagesUntil(n)
      }
      expect(answered).to.equal(false)
      await kit.multiplexer.close()
      await (await opening).messagesUntil(5)
    })
  })
})

function describeInstalled(kind: ProxyKind, title: string, tests: () => void): void {
  if (isInstalled(kind)) describe(title, tests)
  else describe.skip(`${title} (skipped: ${kind.command} is not on the PATH)`, tests)
}

/** What the socket receives from now on, to the given text. */
async function readUntil(socket: Socket, text: string): Promise<string> {
  let read = ''
  while (!read.includes(text)) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    read += chunk.toString()
  }
  return read
}
