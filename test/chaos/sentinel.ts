/** A master, two replicas and three sentinels. */
import { neverTilt, RedisSentinel } from '../helpers/redis-sentinel.js'
import type { RedisServer } from '../helpers/redis-server.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'
import type { Random } from '../proof/random.js'
import { calmServers, networkFaults, type Servers, serverFaults } from './common-faults.js'
import { Admin, CREDENTIALS, type Fault, pause, type Setting, type Source, type Topology, USER } from './topology.js'

/** Sentinels store the role of a server in its configuration file, which these servers do not have. */
const AS_MASTER = ['--replicaof', 'no one']
/** The time within which a master must be elected and its replicas connected after the faults. */
const AGREE_MS = 60_000

export async function startSentinel(setting: Setting): Promise<Topology> {
  const { random } = setting
  const redis = await RedisSentinel.start({ replicas: 2, sentinels: 3, args: ['--appendonly', 'yes', ...USER] })
  const admins = new Map(redis.servers.map((server) => [server, new Admin(server.url)]))
  const proxies = new Map<RedisServer, TcpProxy>()
  for (const server of [...redis.servers, ...redis.sentinels]) proxies.set(server, await TcpProxy.start(server.port))
  const guards = redis.sentinels.map(({ url }) => new Admin(url))
  const all: Servers['all'] = async (...command) => {
    await Promise.all([...admins.values()].map((admin) => admin.command(...command)))
  }
  const toMaster: Servers['masters'] = async (...command) => (await masterOf(admins))?.admin.command(...command)
  const servers: Servers = { masters: toMaster, all, of: () => toMaster }
  return {
    sources: [sourceOf(redis, undefined), sourceOf(redis, proxies)],
    faults: {
      ...serverFaults(servers, setting),
      ...networkFaults([...proxies.values()], random),
      ...failovers(redis, admins, guards, random),
      ...sentinelFaults(redis.sentinels, random),
    },
    async calm() {
      for (const server of [...redis.servers, ...redis.sentinels]) server.resume()
      // A server without memory or permissions cannot become a replica.
      await calmServers(servers)
      await redis.agree(AGREE_MS)
      await calmServers(servers)
    },
    hang() {
      for (const server of [...redis.servers, ...redis.sentinels]) server.pause()
    },
    async entries(key) {
      const master = await masterOf(admins)
      if (master === undefined) throw new Error('no server is the master')
      return master.admin.client.xrange(key, '-', '+')
    },
    async stop() {
      for (const admin of [...admins.values(), ...guards]) admin.close()
      await Promise.all([...proxies.values()].map((proxy) => proxy.stop()))
      await redis.stop()
    },
  }
}

/** @param proxies all connections go through them */
function sourceOf(redis: RedisSentinel, proxies: ReadonlyMap<RedisServer, TcpProxy> | undefined): Source {
  const portOf = (server: RedisServer) => proxies?.get(server)?.port ?? server.port
  return {
    ...CREDENTIALS,
    name: RedisSentinel.NAME,
    sentinels: redis.sentinels.map((sentinel) => ({ host: '127.0.0.1', port: portOf(sentinel) })),
    updateSentinels: false,
    natMap: Object.fromEntries(
      redis.servers.map((server) => [`127.0.0.1:${server.port}`, { host: '127.0.0.1', port: portOf(server) }]),
    ),
  }
}

interface Master {
  readonly server: RedisServer
  readonly admin: Admin
}

async function masterOf(admins: ReadonlyMap<RedisServer, Admin>): Promise<Master | undefined> {
  for (const [server, admin] of admins) {
    const role = await admin.command('ROLE')
    if (Array.isArray(role) && role[0] === 'master') return { server, admin }
  }
  return undefined
}

function failovers(
  redis: RedisSentinel,
  admins: ReadonlyMap<RedisServer, Admin>,
  guards: readonly Admin[],
  random: Random,
): Readonly<Record<string, Fault>> {
  const withMaster = (act: (master: RedisServer) => Promise<void>): Fault => ({
    exclusive: true,
    async strike() {
      const master = await masterOf(admins)
      if (master !== undefined) await act(master.server)
    },
  })
  const replicasOf = (master: RedisServer) => redis.servers.filter((server) => server !== master)
  return {
    failover: {
      exclusive: true,
      async strike() {
        await random.pick(guards).command('SENTINEL', 'FAILOVER', RedisSentinel.NAME)
        await pause(random, 1000, 4000)
      },
    },
    crashMaster: withMaster(async (master) => {
      await master.kill()
      await pause(random, 0, 6000)
      await master.up(AS_MASTER)
    }),
    stopMaster: withMaster(async (master) => {
      master.pause()
      await pause(random, 500, 8000)
      master.resume()
    }),
    crashReplica: withMaster(async (master) => {
      const replica = random.pick(replicasOf(master))
      await replica.kill()
      await pause(random, 0, 3000)
      await replica.up()
    }),
    // The replicas do not have the last writes when one of them becomes the master.
    loseWrites: withMaster(async (master) => {
      const replicas = replicasOf(master)
      for (const replica of replicas) replica.pause()
      // What the master has sent, a stopped replica still receives when it continues.
      await admins.get(master)?.command('CLIENT', 'KILL', 'TYPE', 'replica')
      await pause(random, 100, 900)
      await master.kill()
      for (const replica of replicas) replica.resume()
      await pause(random, 0, 6000)
      await master.up(AS_MASTER)
    }),
    crashAll: {
      exclusive: true,
      async strike() {
        const master = await masterOf(admins)
        const everything = [...redis.servers, ...redis.sentinels]
        await Promise.all(everything.map((server) => server.kill()))
        await pause(random, 0, 2000)
        for (const server of random.chance(0.5) ? everything : everything.reverse()) {
          await server.up(server === master?.server ? AS_MASTER : [])
          if (redis.sentinels.includes(server)) await neverTilt(server)
          await pause(random, 0, 500)
        }
      },
    },
  }
}

function sentinelFaults(sentinels: readonly RedisServer[], random: Random): Readonly<Record<string, Fault>> {
  const some = () => (random.chance(0.3) ? sentinels : [random.pick(sentinels)])
  return {
    crashSentinels: {
      exclusive: true,
      async strike() {
        const chosen = some()
        await Promise.all(chosen.map((sentinel) => sentinel.kill()))
        await pause(random, 0, 4000)
        for (const sentinel of chosen) {
          await sentinel.up()
          await neverTilt(sentinel)
        }
      },
    },
    stopSentinels: {
      async strike() {
        const chosen = some()
        for (const sentinel of chosen) sentinel.pause()
        await pause(random, 500, 8000)
        for (const sentinel of chosen) sentinel.resume()
      },
    },
  }
}
