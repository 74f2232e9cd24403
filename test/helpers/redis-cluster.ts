import { expect } from 'chai'
import calculateSlot from 'cluster-key-slot'
import { Redis } from 'ioredis'
import { eventually } from './eventually.js'
import { freePort } from './free-port.js'
import { RedisServer } from './redis-server.js'

const SLOTS = 16_384

interface Node {
  readonly server: RedisServer
  readonly admin: Redis
  readonly busPort: number
  readonly id: string
}

/** A real Redis Cluster, started for the test: three masters with a third of the slots each, and a replica for each. */
export class RedisCluster {
  readonly #masters: Node[]
  readonly #replicas: Node[]

  private constructor(masters: Node[], replicas: Node[]) {
    this.#masters = masters
    this.#replicas = replicas
  }

  /** @param args further redis-server arguments */
  static async start(args: readonly string[] = []): Promise<RedisCluster> {
    const starts = await Promise.allSettled(Array.from({ length: 6 }, () => startNode(args)))
    const nodes = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []))
    const cluster = new RedisCluster(nodes.slice(0, 3), nodes.slice(3))
    try {
      for (const start of starts) if (start.status === 'rejected') throw start.reason
      await cluster.#join()
    } catch (error) {
      await cluster.stop()
      throw error
    }
    return cluster
  }

  get #nodes(): Node[] {
    return [...this.#masters, ...this.#replicas]
  }

  /** The URLs of the first masters. */
  get urls(): string[] {
    return this.#masters.map(({ server }) => server.url)
  }

  /** The servers: first the first masters, then the replica of each. Their index is their number. */
  get servers(): readonly RedisServer[] {
    return this.#nodes.map(({ server }) => server)
  }

  /** The number of the master of a key: 0 to 2 are the first masters, 3 to 5 the former replicas. -1: none. */
  async masterOf(key: string): Promise<number> {
    const slot = calculateSlot(key)
    const descriptions = await this.#descriptions()
    return descriptions.findIndex(
      ({ role, ranges }) => role === 'master' && ranges.some(([from, to]) => from <= slot && slot <= to),
    )
  }

  /** The numbers of the masters that have slots. */
  async masters(): Promise<readonly number[]> {
    return numbersWhere(await this.#descriptions(), ({ role, ranges }) => role === 'master' && ranges.length > 0)
  }

  /** The numbers of the replicas. */
  async replicas(): Promise<readonly number[]> {
    return numbersWhere(await this.#descriptions(), ({ role }) => role === 'replica')
  }

  async #descriptions(): Promise<readonly Description[]> {
    return Promise.all(this.#nodes.map(({ admin }) => describe(admin)))
  }

  server(number: number): RedisServer {
    return (this.#nodes[number] as Node).server
  }

  admin(number: number): Redis {
    return (this.#nodes[number] as Node).admin
  }

  /** Makes the replica of a first master the master, as an orderly failover. */
  async failover(master: number): Promise<void> {
    const { admin } = this.#replicas[master] as Node
    const isMaster = async () => /role:master/.test(await admin.info('replication'))
    // A busy master may not complete the failover in time. Then it is requested again.
    for (let attempt = 0; attempt < 10 && !(await isMaster()); attempt++) {
      await admin.cluster('FAILOVER')
      await eventually(isMaster, 6000).catch(() => undefined)
    }
    expect(await isMaster()).to.equal(true)
  }

  /** Kills a first master, as in a crash. Resolves when its replica is the master. */
  async crash(master: number): Promise<void> {
    await this.server(master).kill()
    const { admin } = this.#replicas[master] as Node
    await eventually(async () => /role:master/.test(await admin.info('replication')), 30_000)
  }

  /** Moves a key's slot from one master to another, as resharding does. */
  async moveSlot(key: string, from: number, to: number): Promise<void> {
    const slot = calculateSlot(key)
    const [source, target] = [this.#nodes[from], this.#nodes[to]] as [Node, Node]
    const masters = (await this.masters()).map((number) => this.#nodes[number] as Node)
    await target.admin.cluster('SETSLOT', slot, 'IMPORTING', source.id)
    await source.admin.cluster('SETSLOT', slot, 'MIGRATING', target.id)
    // The first keys are moved one at a time, so that commands arrive while the slot is split.
    for (let round = 0; ; round++) {
      const keys = (await source.admin.cluster('GETKEYSINSLOT', slot, round < 5 ? 1 : 1000)) as string[]
      if (keys.length === 0) break
      await source.admin.call('MIGRATE', '127.0.0.1', target.server.port, '', 0, 5000, 'KEYS', ...keys)
      if (round < 5) await new Promise((resolve) => setTimeout(resolve, 30))
    }
    for (const { admin } of new Set([target, source, ...masters]))
      await admin.cluster('SETSLOT', slot, 'NODE', target.id)
  }

  async stop(): Promise<void> {
    for (const { admin } of this.#nodes) admin.disconnect()
    await Promise.all(this.#nodes.map(({ server }) => server.stop()))
  }

  /** Joins the separate servers into one cluster. */
  async #join(): Promise<void> {
    const nodes = this.#nodes
    const [first, ...others] = nodes as [Node, ...Node[]]
    await Promise.all(nodes.map(({ admin }, i) => admin.cluster('SET-CONFIG-EPOCH', i + 1)))
    for (const { server, busPort } of others)
      await first.admin.call('CLUSTER', 'MEET', '127.0.0.1', server.port, busPort)
    for (const [i, { admin }] of this.#masters.entries()) {
      const [from, to] = [i, i + 1].map((third) => Math.ceil((third * SLOTS) / 3)) as [number, number]
      await admin.call('CLUSTER', 'ADDSLOTSRANGE', from, to - 1)
    }
    await this.#know(nodes.length)
    await Promise.all(this.#replicas.map(({ admin }, i) => admin.cluster('REPLICATE', (this.#masters[i] as Node).id)))
    await this.agree()
  }

  /**
   * Waits until all nodes know each other, the cluster state is ok, and every replica is connected to its master.
   * @throws Error after `withinMs`
   */
  async agree(withinMs = 20_000): Promise<void> {
    await this.#know(this.#nodes.length, withinMs)
    await eventually(async () => {
      const descriptions = await this.#descriptions()
      const isInOrder = ({ role, isLinked }: Description) => role === 'master' || (role === 'replica' && isLinked)
      return descriptions.every(isInOrder) && descriptions.filter(({ role }) => role === 'master').length === 3
    }, withinMs)
  }

  async #know(nodes: number, withinMs = 20_000): Promise<void> {
    const knows = async ({ admin }: Node): Promise<boolean> => {
      const info = await answer(admin.cluster('INFO'))
      return /cluster_state:ok/.test(info) && info.includes(`cluster_known_nodes:${nodes}`)
    }
    await eventually(async () => (await Promise.all(this.#nodes.map(knows))).every(Boolean), withinMs)
  }
}

/** A node's description of itself. */
interface Description {
  /** `undefined`: it does not answer. */
  readonly role: 'master' | 'replica' | undefined
  /** The slots that it serves, if it is a master. */
  readonly ranges: readonly (readonly [from: number, to: number])[]
  /** It is connected to its master. */
  readonly isLinked: boolean
}

async function describe(admin: Redis): Promise<Description> {
  const silent: Description = { role: undefined, ranges: [], isLinked: false }
  if (admin.status !== 'ready') return silent
  const nodes = await answer(admin.cluster('NODES'))
  const fields = (nodes.split('\n').find((line) => line.includes('myself')) ?? '').split(' ')
  if (fields.length < 8) return silent
  const ranges = fields
    .slice(8)
    .filter((range) => !range.startsWith('['))
    .map((range) => {
      const [from = 0, to = from] = range.split('-').map(Number)
      return [from, to] as const
    })
  const isMaster = (fields[2] as string).includes('master')
  const isLinked = !isMaster && /master_link_status:up/.test(await answer(admin.info('replication')))
  return { role: isMaster ? 'master' : 'replica', ranges, isLinked }
}

/** The answer, or nothing if there is none within 2 s. */
async function answer(question: Promise<unknown>): Promise<string> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(''), 2000)
  })
  const reply = await Promise.race([question.then(String).catch(() => ''), late])
  clearTimeout(timer)
  return reply
}

function numbersWhere(
  descriptions: readonly Description[],
  isWanted: (description: Description) => boolean,
): readonly number[] {
  return [...descriptions.keys()].filter((number) => isWanted(descriptions[number] as Description))
}

async function startNode(args: readonly string[]): Promise<Node> {
  const busPort = await freePort()
  const server = await RedisServer.start([
    ...['--cluster-enabled', 'yes', '--cluster-port', String(busPort)],
    // Long, so that a busy machine does not replace a slow node. Tests of crashes set a shorter time-out.
    ...['--cluster-node-timeout', '15000', '--cluster-replica-validity-factor', '0', '--repl-diskless-sync-delay', '0'],
    ...args,
  ])
  const admin = new Redis(server.url)
  // The test kills servers.
  admin.on('error', () => undefined)
  return { server, admin, busPort, id: String(await admin.cluster('MYID')) }
}
