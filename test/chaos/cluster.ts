/** Three masters with a third of the slots each, and a replica of each. */
import { RedisCluster } from '../helpers/redis-cluster.js'
import type { RedisServer } from '../helpers/redis-server.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'
import { calmServers, networkFaults, type Servers, serverFaults } from './common-faults.js'
import { Admin, CREDENTIALS, type Fault, pause, type Setting, type Topology, USER } from './topology.js'

const AGREE_MS = 60_000

export async function startCluster(setting: Setting): Promise<Topology> {
  const { random } = setting
  const args = ['--cluster-node-timeout', '2000', '--appendonly', 'yes', ...USER]
  const cluster = await RedisCluster.start(args)
  const nodes = cluster.servers.map((server) => ({ server, admin: new Admin(server.url) }))
  const proxies = await Promise.all(nodes.map(({ server }) => TcpProxy.start(server.port)))
  const natMap = Object.fromEntries(
    nodes.map(({ server }, i) => [`127.0.0.1:${server.port}`, { host: '127.0.0.1', port: proxies[i]?.port }]),
  )
  const all: Servers['all'] = async (...command) => {
    await Promise.all(nodes.map(({ admin }) => admin.command(...command)))
  }
  const servers: Servers = {
    all,
    // A replica refuses commands that only masters run.
    masters: all,
    of:
      (key) =>
      async (...command) =>
        nodes[await cluster.masterOf(key)]?.admin.command(...command),
  }
  return {
    sources: [
      { cluster: cluster.urls, options: { redisOptions: CREDENTIALS } },
      {
        cluster: proxies.slice(0, 3).map(({ port }) => `redis://127.0.0.1:${port}`),
        options: { redisOptions: CREDENTIALS, natMap },
      },
    ],
    faults: {
      ...serverFaults(servers, setting),
      ...networkFaults(proxies, random),
      ...failovers(cluster, nodes, setting),
    },
    async calm() {
      for (const { server } of nodes) server.resume()
      // A server without memory or permissions cannot become a replica.
      await calmServers(servers)
      await cluster.agree(AGREE_MS)
      await calmServers(servers)
    },
    hang() {
      for (const { server } of nodes) server.pause()
    },
    async entries(key) {
      const master = nodes[await cluster.masterOf(key)]
      if (master === undefined) throw new Error(`no server has ${key}`)
      return master.admin.client.xrange(key, '-', '+')
    },
    async stop() {
      for (const { admin } of nodes) admin.close()
      await Promise.all(proxies.map((proxy) => proxy.stop()))
      await cluster.stop()
    },
  }
}

interface Node {
  readonly server: RedisServer
  readonly admin: Admin
}

function failovers(
  cluster: RedisCluster,
  nodes: readonly Node[],
  { random, channels }: Setting,
): Readonly<Record<string, Fault>> {
  const keyOf = () => `sse:{${random.pick(channels)}}:s`
  const onMaster = (act: (master: Node) => Promise<void>): Fault => ({
    exclusive: true,
    async strike() {
      const master = nodes[await cluster.masterOf(keyOf())]
      if (master !== undefined) await act(master)
    },
  })
  return {
    failover: {
      exclusive: true,
      async strike() {
        const replicas = await cluster.replicas()
        if (replicas.length > 0) await nodes[random.pick(replicas)]?.admin.command('CLUSTER', 'FAILOVER')
        await pause(random, 300, 3000)
      },
    },
    crash: onMaster(async ({ server }) => {
      await server.kill()
      await pause(random, 0, 6000)
      await server.up()
    }),
    stop: onMaster(async ({ server }) => {
      server.pause()
      await pause(random, 500, 8000)
      server.resume()
    }),
    loseWrites: onMaster(async ({ server }) => {
      const others = nodes.filter((node) => node.server !== server)
      const replicas = (await cluster.replicas()).map((number) => nodes[number] as Node)
      const paused = others.filter((node) => replicas.includes(node))
      for (const replica of paused) replica.server.pause()
      await pause(random, 100, 900)
      await server.kill()
      for (const replica of paused) replica.server.resume()
      await pause(random, 0, 6000)
      await server.up()
    }),
    moveSlot: {
      exclusive: true,
      async strike() {
        const key = keyOf()
        const from = await cluster.masterOf(key)
        const masters = await cluster.masters()
        const to = random.pick(masters.filter((number) => number !== from))
        if (from !== -1 && to !== undefined) await cluster.moveSlot(key, from, to).catch(() => undefined)
      },
    },
  }
}
