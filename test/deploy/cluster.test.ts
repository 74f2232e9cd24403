import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { expect } from 'chai'
import { TestInbox, whatsAppPayload } from '../example/harness.js'
import { eventually } from '../helpers/eventually.js'
import { freePort } from '../helpers/free-port.js'
import { range } from '../helpers/range.js'
import { RedisServer } from '../helpers/redis-server.js'

const deployed = (name: string): Promise<string> =>
  readFile(new URL(`../../example/deploy/${name}`, import.meta.url), 'utf8')
const run = promisify(execFile)

describe("the example's cluster under two processes", () => {
  let nodes: RedisServer[]
  let inboxes: TestInbox[]

  before(async () => {
    const settings = (await deployed('redis-cluster.conf')).split('\n').filter((line) => /^[a-z]/.test(line))
    const args = settings.flatMap((line) => line.replace(/^(\S+) /, '--$1 ').split(' '))
    expect(args).to.include('--cluster-enabled')
    const start = async () => {
      const own = ['--cluster-port', String(await freePort()), '--cluster-announce-hostname', 'localhost']
      return RedisServer.start([...args, ...own])
    }
    nodes = await Promise.all(range(1, 6).map(start))
    const create = /redis-cli (--cluster create) \$\$nodes (.*)/.exec(await deployed('compose.cluster.yaml'))
    const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`)
    const [, first = '', options = ''] = create ?? []
    await run('redis-cli', [...first.split(' '), ...addresses, ...options.split(' ')])
    await eventually(async () => (await Promise.all(nodes.map(isUp))).every(Boolean), 30_000)
    const redisUrl = nodes.slice(0, 3).map(({ port }) => `redis://localhost:${port}`)
    inboxes = await Promise.all([1, 2].map(() => TestInbox.start({ redisUrl: redisUrl.join(',') })))
  })
  after(async () => {
    await Promise.all(inboxes.map((inbox) => inbox.stop()))
    await Promise.all(nodes.map((node) => node.stop()))
  })

  /** Whether the cluster serves, and the node is a master or a replica with the data of its master. */
  async function isUp({ port }: RedisServer): Promise<boolean> {
    const ask = async (...command: string[]) => (await run('redis-cli', ['-p', String(port), ...command])).stdout
    if (!(await ask('cluster', 'info')).includes('cluster_state:ok')) return false
    return /role:master|master_link_status:up/.test(await ask('info', 'replication'))
  }

  it('shares events, limits and leases, and continues when masters crash', async () => {
    const [one, two] = inboxes as [TestInbox, TestInbox]
    const dana = await one.signIn('dana', 'acme')
    const streams = await Promise.all(range(1, 4).map((n) => (n % 2 ? one : two).stream('/conversations', dana)))
    const deliver = async (n: number) => {
      const { status } = await one.deliver('whatsapp', whatsAppPayload({ id: `wamid.${n}`, text: 'Hello' }))
      return status === 200
    }
    for (const n of range(1, 20)) expect(await deliver(n)).to.equal(true)
    await Promise.all(streams.map((stream) => stream.messagesUntil(20)))

    const { headers } = await two.call('GET', '/api/v1/conversations', { token: dana })
    expect(headers.get('ratelimit')).to.contain('r=9')

    await nodes[0]?.kill()
    // Like Meta, retries until the answer is 200. A message is handled once.
    for (const n of range(21, 40)) await eventually(() => deliver(n), 30_000)
    await Promise.all(streams.map((stream) => stream.messagesUntil(40)))
    for (const stream of streams) {
      const ids = stream.messages.map(({ data }) => (JSON.parse(data) as { message: { id: string } }).message.id)
      expect(ids).to.deep.equal(range(1, 40).map((n) => `wamid.${n}`))
    }
    await eventually(() => inboxes.every((inbox) => inbox.services.multiplexer.status().state === 'ready'), 20_000)
  })
})
