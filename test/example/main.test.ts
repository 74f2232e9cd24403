import { once } from 'node:events'
import { connect } from 'node:net'
import { expect } from 'chai'
import { eventually } from '../helpers/eventually.js'
import { freePort } from '../helpers/free-port.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'
import { Scrape } from '../observe/scrape.js'
import { InboxProcess } from './process.js'

/** 12 KB in UTF-8, the longest that is accepted. */
const LONG_TEXT = '€'.repeat(4096)
const DRAIN_MS = 1000

async function isRefused(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const refused = await once(socket, 'connect').then(
    () => false,
    () => true,
  )
  socket.destroy()
  return refused
}

describe("the example's process", function () {
  // The separate process compiles its imports.
  this.timeout(60_000)
  let inbox: InboxProcess
  let url: string

  afterEach(() => {
    inbox.child.kill('SIGKILL')
  })

  async function start(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const port = await freePort()
    inbox = new InboxProcess({ PORT: String(port), ...environment })
    url = `http://localhost:${port}`
    await inbox.printed(`Inbox on ${url} (embedded`)
  }

  async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const init = { 'content-type': 'application/json', ...headers }
    return fetch(`${url}/api/v1${path}`, { method: 'POST', headers: init, body: JSON.stringify(body) })
  }

  async function signIn(user: string): Promise<Record<string, string>> {
    const { token } = (await (await post('/auth/login', { user, tenant: 'acme' })).json()) as { token: string }
    return { authorization: `Bearer ${token}` }
  }

  async function open(headers: Record<string, string>): Promise<SseClient> {
    const stream = await SseClient.open(`${url}/api/v1/sse/conversations`, headers)
    await stream.control('sse.open')
    return stream
  }

  it('serves, and on SIGTERM closes its open streams and exits with code 0', async () => {
    await start()
    expect(inbox.output).to.contain('JWT_SECRET is not set')
    expect((await fetch(`${url}/healthz`)).status).to.equal(200)
    const stream = await open(await signIn('dana'))
    inbox.child.kill('SIGTERM')
    expect(JSON.parse((await stream.control('sse.reconnect')).data)).to.have.property('reason', 'shutdown')
    await stream.ended()
    expect(await inbox.ended).to.deep.equal([0, null])
  })

  it('exits with code 0 within its deadline, also if a client has stopped reading', async () => {
    await start({ DRAIN_MS: String(DRAIN_MS) })
    const dana = await signIn('dana')
    const [healthy, stalled] = [await open(dana), await open(await signIn('mia'))]
    stalled.pause()
    const full = async (): Promise<boolean> => {
      for (const _ of range(1, 25)) await post('/conversations/demo-lena/messages', { text: LONG_TEXT }, dana)
      return new Scrape(await (await fetch(`${url}/metrics`)).text()).value('sse_streams_full') > 0
    }
    await eventually(full, 30_000)
    const before = performance.now()
    inbox.child.kill('SIGTERM')
    await healthy.control('sse.reconnect')
    await healthy.ended()
    // The drain window, 5 s for the streams to close, 4 s for requests.
    const deadline = setTimeout(() => inbox.child.kill('SIGKILL'), DRAIN_MS + 4000 + 5000)
    expect(await inbox.ended).to.deep.equal([0, null])
    clearTimeout(deadline)
    expect(performance.now() - before, 'the stalled one was waited for').to.be.above(DRAIN_MS)
    stalled.close()
  })

  it('serves health and metrics on a separate port in production, until its end', async () => {
    const [port, internal] = [await freePort(), await freePort()]
    inbox = new InboxProcess({
      NODE_ENV: 'production',
      PORT: String(port),
      INTERNAL_PORT: String(internal),
      DRAIN_MS: '0',
      JWT_SECRET: 'j'.repeat(32),
      WEBHOOK_SECRET: 'w'.repeat(16),
      WEBHOOK_VERIFY_TOKEN: 'v'.repeat(8),
    })
    await inbox.printed(`Health and metrics on http://127.0.0.1:${internal}`)
    for (const path of ['/healthz', '/readyz', '/metrics']) {
      expect((await fetch(`http://127.0.0.1:${internal}${path}`)).status, path).to.equal(200)
      for (const written of [path, `${path}/`, path.toUpperCase()]) {
        expect((await fetch(`http://127.0.0.1:${port}${written}`)).status, written).to.equal(404)
      }
    }
    for (const path of ['/', '/api/v1/conversations', '/workbench']) {
      expect((await fetch(`http://127.0.0.1:${internal}${path}`)).status, path).to.equal(404)
    }
    // An incomplete request delays the end.
    const client = connect(port, '127.0.0.1')
    client.on('error', () => undefined)
    client.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n')
    await once(client, 'data')
    inbox.child.kill('SIGTERM')
    await eventually(() => isRefused(port))
    expect((await fetch(`http://127.0.0.1:${internal}/metrics`)).status, 'while it ends').to.equal(200)
    client.destroy()
    expect(await inbox.ended).to.deep.equal([0, null])
  })

  it('refuses to start in production without its secrets, and names them', async () => {
    inbox = new InboxProcess({ NODE_ENV: 'production', PORT: '0' })
    expect(await inbox.ended).to.deep.equal([1, null])
    expect(inbox.output).to.contain('Cannot start: JWT_SECRET must be set in production')
  })
})
