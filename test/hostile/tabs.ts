/**
 * Messages between the tabs of a page's origin, from another version of the kit, another script or a broken one: in
 * Node, with its BroadcastChannel. Listeners of two tabs still get each event of their stream, once and in order.
 */
import { createEventBus, type SharedStream } from '../../lib/client/bus.js'
import { createMultiplexer, createPressure, type Multiplexer } from '../../lib/index.js'
import { eventually } from '../helpers/eventually.js'
import { serve, type TestServer } from '../helpers/http-server.js'
import type { Random } from '../proof/random.js'
import type { Area, Findings } from './area.js'
import { hostileText, hostileValue } from './hostile-text.js'
import { exclusiveLocks } from './locks.js'
import { SECRET } from './site.js'

/** Messages between two events. */
const BATCH = 100
const IDENTITY = 'mallory'

/** Members of a wrong type are frequent. Right messages with forged content are the origin's own responsibility. */
function hostileMessage(random: Random): unknown {
  const some = (): unknown => random.pick([undefined, null, 1, {}, [], hostileText(random), hostileValue(random)])
  const event = random.pick([
    some(),
    { type: some(), data: some(), id: {} },
    { type: 'n', data: { toString: 'x' }, id: '' },
    { type: '*', data: SECRET, id: 1 },
    Object.create(null) as unknown,
  ])
  return random.pick([
    some(),
    { kind: some() },
    { kind: random.pick(['__proto__', 'constructor', 'toString', 'leads2', 'LEADS']) },
    { kind: 'leads', extra: some() },
    { kind: 'hello', from: some(), position: some() },
    { kind: 'hello', from: { x: 1 }, position: ['a-1'] },
    { kind: 'welcome', to: some(), events: random.pick([some(), [event], { length: 1e9 }]) },
    { kind: 'event', before: some(), event },
    { kind: 'event', before: '', event },
    { kind: 'state', change: some() },
    { kind: 'state', change: { state: random.pick([some(), 'CLOSED', 'closed ']), reason: some(), error: some() } },
    { kind: 'state', change: { state: 'closed', error: random.pick([null, 1, {}, { code: 1 }, 'x']) } },
    new Map([['kind', 'leads']]),
    new Date(0),
    new Uint8Array(9),
    new Error('x'),
  ])
}

interface Tab {
  readonly share: SharedStream
  readonly seen: number[]
  readonly states: string[]
}

function openTab(url: string, findings: Findings): Tab {
  const seen: number[] = []
  const states: string[] = []
  const bus = createEventBus({ tabs: true, identity: IDENTITY, lingerMs: 0, retryMs: 20 })
  const share = bus.stream(url, { onState: ({ state }) => void states.push(state) })
  share.on('*', ({ type, data, id }) => {
    if (typeof type !== 'string' || typeof data !== 'string' || typeof id !== 'string')
      findings.violate('a wrong event')
    else if (data.includes(SECRET)) findings.violate(`a foreign event: ${type} ${data}`)
    if (type === 'n') seen.push(Number(data))
  })
  return { share, seen, states }
}

/** The turn of a message that was posted before has come. */
async function delivered(name: string): Promise<void> {
  const [one, other] = [new BroadcastChannel(`${name} done`), new BroadcastChannel(`${name} done`)]
  await new Promise((resolve) => {
    other.onmessage = resolve
    one.postMessage('done')
  })
  one.close()
  other.close()
}

class TabsSite {
  readonly multiplexer: Multiplexer = createMultiplexer({
    lingerMs: 0,
    stream: { pressure: createPressure({ maxLoopDelayMs: 0 }) },
  })
  server: TestServer | undefined

  async start(): Promise<string> {
    const stream = this.multiplexer.stream(() => 'log')
    this.server = await serve((req, res) => void stream(req, res, (error) => res.writeHead(500).end(String(error))))
    return `${this.server.url}/`
  }

  async stop(): Promise<void> {
    await this.multiplexer.close()
    await this.server?.stop()
  }
}

export const tabs: Area = {
  name: 'tabs',
  about: 'messages between tabs of any shape',
  async run(cases, random, findings) {
    const restore = exclusiveLocks()
    const site = new TabsSite()
    const url = await site.start()
    const name = `express-sse-kit ${JSON.stringify([IDENTITY, url])}`
    const attacker = new BroadcastChannel(name)
    const all = [openTab(url, findings), openTab(url, findings)]
    try {
      await eventually(() => all.every(({ share }) => share.state === 'open' && share.cursor !== ''), 20_000)
      for (let done = 0, published = 0; done < cases; done += BATCH) {
        await findings.case(
          () => `messages ${done} to ${done + BATCH}`,
          async () => {
            for (let i = Math.min(BATCH, cases - done); i > 0; i--) attacker.postMessage(hostileMessage(random))
            await delivered(name)
            await site.multiplexer.publish('log', { event: 'n', data: ++published })
            await eventually(() => all.every(({ seen }) => seen.at(-1) === published), 20_000)
          },
        )
        findings.cases += Math.min(BATCH, cases - done) - 1
      }
      for (const { seen, share } of all) {
        if (seen.some((data, i) => data !== i + 1)) findings.violate(`a tab got ${seen.slice(0, 20).join()}`)
        if (share.state !== 'open') findings.violate(`a tab is ${share.state}`)
      }
      await eventually(() => site.multiplexer.status().streams === 1, 20_000)
    } finally {
      for (const { share } of all) share.close()
      attacker.close()
      await site.stop()
      restore()
    }
  },
}
