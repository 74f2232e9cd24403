import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect } from 'chai'
import { createApp } from '../../example/server/app.js'
import { readConfig } from '../../example/server/config.js'
import { openServices, type Services } from '../../example/server/services.js'
import type { ClientState, Sample, WorkbenchState } from '../../example/server/workbench/state.js'
import { Workbench, type WorkbenchOptions } from '../../example/server/workbench/workbench.js'
import { eventually } from '../helpers/eventually.js'
import { range } from '../helpers/range.js'
import { SseClient } from '../helpers/sse-client.js'
import { TestInbox } from './harness.js'

/** Shorter than the default times, which are for a person. */
const QUICK: WorkbenchOptions = { stallMs: 1000, sustainMs: 500, pauseMs: 1000, pollMs: 100 }

type Seen = Sample['clients'][number]

describe("the example's workbench", () => {
  let services: Services
  let workbench: Workbench
  let server: Server
  let watches: SseClient[]

  beforeEach(() => {
    watches = []
  })

  afterEach(async () => {
    for (const watch of watches) watch.close()
    await workbench.close()
    await services.close()
    const closed = once(server, 'close')
    server.close()
    // The simulated clients have closed their connections; the remaining ones are the test's.
    server.closeIdleConnections()
    await closed
  })

  async function start(options: WorkbenchOptions = QUICK): Promise<void> {
    const config = readConfig({ PORT: '0' })
    services = openServices(undefined)
    workbench = new Workbench(options)
    server = createServer(createApp({ ...services, workbench, config, log: () => undefined }))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }

  function url(path: string): string {
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1/workbench${path}`
  }

  async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(url(path), {
      method,
      headers: { connection: 'close', ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? undefined : (JSON.parse(text) as unknown) }
  }

  /** The clients of a scenario by name. */
  async function play(id: string): Promise<(name: string) => string> {
    const { status, body } = await ask('POST', `/scenarios/${id}`)
    expect(status).to.equal(200)
    const { clients } = body as WorkbenchState
    return (name) => clients.find((client) => client.name === name)?.id ?? expect.fail(`no client ${name}`)
  }

  interface Watch {
    readonly stream: SseClient
    readonly samples: () => Sample[]
    /** The first wanted sample of a client, beginning with the sample that was found last. */
    readonly until: (id: string, wanted: (client: Seen) => boolean) => Promise<Seen>
  }

  async function watch(): Promise<Watch> {
    const stream = await SseClient.open(url('/samples'))
    watches.push(stream)
    const samples = (): Sample[] =>
      stream.messages.filter(({ event }) => event === 'sample').map(({ data }) => JSON.parse(data) as Sample)
    let checked = 0
    return {
      stream,
      samples,
      async until(id, wanted) {
        let found: Seen | undefined
        await stream.until(() => {
          const all = samples()
          // No sample is skipped: the next one may not show the wanted state any more.
          for (; checked < all.length; checked++) {
            found = all[checked]?.clients.find((client) => client.id === id && wanted(client))
            if (found !== undefined) return true
          }
          return false
        })
        return found as Seen
      },
    }
  }

  it('shows a stalled stream that queues nothing (replay), drops (drop-oldest) or waits (window)', async () => {
    await start()
    const id = await play('stalled')
    await ask('PATCH', '/producer', { eventsPerSecond: 250 })
    const { samples, until } = await watch()
    const replay = await until(id('Stalled, replay'), ({ lag, full }) => full && (lag ?? 0) > 50)
    expect(replay).to.include({ queued: 0, queuedBytes: 0, got: 0 })
    const dropping = await until(id('Stalled, drop-oldest'), ({ dropped }) => (dropped.queue_full ?? 0) > 0)
    expect(dropping).to.include({ queued: 50, lag: 0 })
    const window = await until(id('Stalled, acknowledges'), ({ lag }) => (lag ?? 0) > 50)
    expect(window).to.include({ unacknowledged: 20, queued: 0, full: false })
    const healthy = await until(id('Healthy'), ({ got }) => got > 100)
    expect(healthy).to.include({ missed: 0, repeated: 0, phase: 'stream' })
    const whileItHeld = samples().find(({ clients }) => clients.some((client) => client.queued === 50))
    expect(whileItHeld?.queuedBytes).to.be.greaterThan(50 * 16_384)
  })

  it('ends a stalled stream; its client then reads, polls, and returns without missing an event', async () => {
    // The client polls long enough for a sample.
    await start({ ...QUICK, pauseMs: 3000 })
    const id = (await play('stalled'))('Stalled, replay')
    await ask('PATCH', '/producer', { eventsPerSecond: 250 })
    const { until } = await watch()
    await until(id, ({ phase }) => phase === 'cut-off')
    await ask('PATCH', `/clients/${id}`, { readBytesPerSecond: null })
    const moved = await until(id, ({ phase }) => phase === 'polling')
    expect(moved).to.include({ moved: 1, reason: 'stalled', lag: null })
    const { got } = await until(id, ({ returned, phase }) => returned === 1 && phase === 'stream')
    const back = await until(id, (client) => client.got > got)
    expect(back).to.include({ missed: 0, repeated: 0 })
    expect(back.polls).to.be.greaterThan(0)
  })

  it('shows which events each policy drops at the same pace', async () => {
    await start()
    const id = await play('policies')
    const { until } = await watch()
    for (const policy of ['drop-oldest', 'drop-newest', 'drop-random', 'drop-low-priority']) {
      const client = await until(id(policy), ({ dropped }) => (dropped.queue_full ?? 0) > 20)
      expect(client.queued, policy).to.be.within(1, 40)
      if (policy === 'drop-low-priority') expect(client).to.include({ missedHigh: 0 })
    }
    const replay = await until(id('replay'), ({ lag }) => (lag ?? 0) > 60)
    expect(replay).to.deep.include({ queued: 0, missed: 0, dropped: {} })
    const coalescing = await until(id('coalesce'), ({ dropped }) => (dropped.coalesced ?? 0) > 20)
    expect(coalescing.queued).to.be.at.most(8)
    expect(coalescing.dropped).to.not.have.property('queue_full')
  })

  it('paces: lag rises and falls, tokens are spent and refilled, and rates change on the open stream', async () => {
    await start()
    const id = await play('pacing')
    const { samples, until } = await watch()
    await until(id('Telemetry'), ({ tokens }) => tokens !== null && tokens < 25)
    await until(id('Telemetry'), ({ tokens }) => tokens === 50)
    await until(id('Dashboard'), ({ lag }) => (lag ?? 0) > 20)
    const caughtUp = await until(id('Dashboard'), ({ lag }) => lag === 0)
    expect(caughtUp).to.include({ missed: 0, queued: 0 })
    await until(id('Chat'), ({ lag }) => (lag ?? 0) > 30)
    await ask('PATCH', `/clients/${id('Chat')}`, { pacing: { capacity: 1000, refillPerSecond: 1000 } })
    await until(id('Chat'), ({ lag }) => lag === 0)
    const phases = samples().map(({ clients }) => clients.find((client) => client.id === id('Chat'))?.phase)
    expect(new Set(phases.slice(phases.indexOf('stream')))).to.deep.equal(new Set(['stream']))
  })

  it('moves streams to polling under pressure, and back afterwards', async () => {
    await start()
    const id = await play('pressure')
    const { stream, samples, until } = await watch()
    const names = range(1, 4).map((n) => id(`Large queue ${n}`))
    const total = (count: (client: Seen) => number): number =>
      (samples().at(-1)?.clients ?? [])
        .filter((client) => names.includes(client.id))
        .reduce((sum, client) => sum + count(client), 0)
    await stream.until(() => total(({ moved }) => moved) > 0)
    expect(samples().map(({ pressure }) => pressure)).to.include('sustained')
    expect(total(({ dropped }) => dropped.shed ?? 0)).to.be.greaterThan(0)
    await ask('PATCH', '/producer', { eventsPerSecond: 20 })
    await stream.until(() => total(({ returned }) => returned) === total(({ moved }) => moved))
    const replay = await until(id('Replay beside them'), ({ got }) => got > 0)
    expect(replay).to.include({ missed: 0, moved: 0 })
  })

  it('reopens a stream at its position when its policy is changed', async () => {
    await start()
    const { id } = (await ask('POST', '/clients', { name: 'Reader' })).body as ClientState
    await ask('PATCH', '/producer', { running: true, eventsPerSecond: 100, burst: 1 })
    const { until } = await watch()
    for (const change of [
      { queuePolicy: 'coalesce' },
      { queuePolicy: 'replay', window: 10 },
      { pacing: 'telemetry' },
    ]) {
      const { got } = await until(id, () => true)
      const changed = await ask('PATCH', `/clients/${id}`, change)
      expect(changed.body).to.include(Object.fromEntries(Object.entries(change).filter(([name]) => name !== 'pacing')))
      await until(id, (client) => client.phase === 'stream' && client.got > got + 5)
    }
    const reader = await until(id, ({ unacknowledged }) => unacknowledged !== null)
    expect(reader).to.include({ missed: 0, repeated: 0 })
    expect(reader.unacknowledged).to.be.at.most(10)
  })

  it('acknowledges while it reads, so that a window does not delay it', async () => {
    await start()
    const { id } = (await ask('POST', '/clients', { window: 4 })).body as ClientState
    await ask('PATCH', '/producer', { running: true, eventsPerSecond: 200, burst: 20 })
    const { until } = await watch()
    const reader = await until(id, ({ got }) => got > 200)
    expect(reader).to.include({ missed: 0, repeated: 0 })
  })

  it('answers invalid requests with a code', async () => {
    await start()
    const { id } = (await ask('POST', '/clients', {})).body as ClientState
    const INVALID = 'ERR_WORKBENCH_INVALID'
    const cases: readonly (readonly [method: string, path: string, body: unknown, status: number, code: string])[] = [
      ['PATCH', '/producer', { eventsPerSecond: 0 }, 400, INVALID],
      ['PATCH', '/producer', { eventsPerSecond: 1001 }, 400, INVALID],
      ['PATCH', '/producer', { burst: 1.5 }, 400, INVALID],
      ['PATCH', '/producer', { eventBytes: 16_385 }, 400, INVALID],
      ['PATCH', '/producer', { eventsPerSecond: 1000, eventBytes: 16_384 }, 400, INVALID],
      ['PATCH', '/producer', { running: 'yes' }, 400, INVALID],
      ['PATCH', '/producer', { speed: 1 }, 400, INVALID],
      ['PATCH', '/producer', [], 400, INVALID],
      ['PATCH', '/producer', undefined, 400, INVALID],
      ['PATCH', '/producer', '{', 400, 'ERR_INBOX_BODY_INVALID'],
      ['POST', '/clients', { queuePolicy: 'constructor' }, 400, INVALID],
      ['POST', '/clients', { name: '' }, 400, INVALID],
      ['POST', '/clients', { name: 'two\nlines' }, 400, INVALID],
      ['POST', '/clients', { readBytesPerSecond: -1 }, 400, INVALID],
      ['POST', '/clients', { queueEvents: 1001 }, 400, INVALID],
      ['POST', '/clients', { pacing: 'toString' }, 400, INVALID],
      ['POST', '/clients', { pacing: { capacity: 1 } }, 400, INVALID],
      ['POST', '/clients', { queuePolicy: 'coalesce', window: 5 }, 400, INVALID],
      ['PATCH', `/clients/${id}`, { polls: 1 }, 400, INVALID],
      ['PATCH', '/clients/nobody', {}, 404, 'ERR_WORKBENCH_CLIENT_NOT_FOUND'],
      ['DELETE', '/clients/nobody', undefined, 404, 'ERR_WORKBENCH_CLIENT_NOT_FOUND'],
      ['GET', '/feed?client=nobody', undefined, 404, 'ERR_WORKBENCH_CLIENT_NOT_FOUND'],
      ['POST', '/scenarios/nothing', undefined, 404, 'ERR_WORKBENCH_SCENARIO_NOT_FOUND'],
    ]
    for (const [method, path, body, status, code] of cases) {
      const answer = await ask(method, path, body)
      expect(answer, `${method} ${path} ${JSON.stringify(body)}`).to.deep.include({ status })
      expect(answer.body).to.include({ status, code })
    }
    const foreign = await ask('POST', '/stop', undefined, { 'sec-fetch-site': 'cross-site' })
    expect(foreign.body).to.include({ status: 403, code: 'ERR_WORKBENCH_FOREIGN' })
    expect(workbench.state().clients).to.have.length(1)
  })

  it('accepts twelve clients and eight pages', async () => {
    await start()
    for (const status of [...range(1, 12).map(() => 201), 409]) {
      expect((await ask('POST', '/clients', {})).status).to.equal(status)
    }
    for (const status of [...range(1, 8).map(() => 200), 409]) {
      const stream = await SseClient.open(url('/samples'))
      watches.push(stream)
      expect(stream.status).to.equal(status)
    }
  })

  it('sends a change made on one page to all pages', async () => {
    await start()
    const { stream } = await watch()
    const { id } = (await ask('POST', '/clients', { name: 'Reader' })).body as ClientState
    expect((await ask('DELETE', `/clients/${id}`)).status).to.equal(204)
    const states = (): WorkbenchState[] =>
      stream.messages.filter(({ event }) => event === 'state').map(({ data }) => JSON.parse(data) as WorkbenchState)
    await stream.until(() => states().length === 3)
    expect(states().map(({ clients }) => clients.map(({ name }) => name))).to.deep.equal([[], ['Reader'], []])
    expect((await ask('GET', '/')).body).to.deep.equal(states().at(-1))
  })

  function connections(): Promise<number> {
    return new Promise((resolve, reject) =>
      server.getConnections((error, count) => (error === null ? resolve(count) : reject(error))),
    )
  }

  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length

  it('has no open connection and no timer after it was stopped', async () => {
    await start()
    const before = timers()
    await play('stalled')
    await eventually(async () => (await connections()) >= 4)
    expect(timers()).to.be.greaterThan(before)
    expect((await ask('POST', '/stop')).status).to.equal(204)
    expect(workbench.running).to.equal(false)
    await eventually(async () => (await connections()) === 0)
    await eventually(() => timers() <= before)
  })

  it('stops by itself without pages and requests', async () => {
    await start({ ...QUICK, idleMs: 300 })
    await play('policies')
    const { stream, until } = await watch()
    const [first] = workbench.state().clients
    await until(first?.id ?? '', ({ got }) => got > 20)
    expect(workbench.running, 'while a page is open').to.equal(true)
    stream.close()
    await eventually(() => !workbench.running)
    await eventually(async () => (await connections()) === 0)
  })
})

describe("the workbench in the example's process", () => {
  it('does not exist in production', async () => {
    const secrets = { JWT_SECRET: 'x'.repeat(32), WEBHOOK_SECRET: 's'.repeat(16), WEBHOOK_VERIFY_TOKEN: 't'.repeat(8) }
    const inbox = await TestInbox.start({ environment: { NODE_ENV: 'production', ...secrets } })
    for (const path of ['/workbench', '/api/v1/workbench', '/api/v1/workbench/samples']) {
      const answer = await inbox.call('GET', path)
      expect(answer.status, path).to.equal(404)
      expect(answer.body).to.include({ code: 'ERR_INBOX_NOT_FOUND' })
    }
    expect((await inbox.call('POST', '/api/v1/workbench/scenarios/stalled')).status).to.equal(404)
    await inbox.stop()
  })

  it('stops with the process while a scenario runs', async () => {
    const inbox = await TestInbox.start()
    await inbox.call('POST', '/api/v1/workbench/scenarios/stalled')
    const stream = await SseClient.open(`${inbox.url}/api/v1/workbench/samples`)
    await stream.until(({ messages }) => messages.some(({ event }) => event === 'sample'))
    await inbox.services.workbench.close()
    expect(JSON.parse((await stream.control('sse.reconnect')).data)).to.include({ reason: 'shutdown' })
    expect((await inbox.call('POST', '/api/v1/workbench/clients', { body: {} })).status).to.equal(503)
    await inbox.stop()
    await stream.ended()
  })
})
