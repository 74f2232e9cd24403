/** One Redis server with persistence. */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RedisServer } from '../helpers/redis-server.js'
import { TcpProxy } from '../helpers/tcp-proxy.js'
import { calmServers, networkFaults, type Servers, serverFaults } from './common-faults.js'
import { Admin, type Fault, pause, type Setting, type Topology, USER } from './topology.js'

export async function startSingle(setting: Setting): Promise<Topology> {
  const folder = await mkdtemp(join(tmpdir(), 'sse-chaos-'))
  const server = await RedisServer.start(['--dir', folder, '--appendonly', 'yes', ...USER])
  const proxy = await TcpProxy.start(server.port)
  const admin = new Admin(server.url)
  const send = admin.command.bind(admin)
  const servers: Servers = { masters: send, all: send, of: () => send }
  return {
    sources: [server.port, proxy.port].map((port) => `redis://kit:kit@127.0.0.1:${port}`),
    faults: {
      ...processFaults(server, folder, setting),
      ...serverFaults(servers, setting),
      ...networkFaults([proxy], setting.random),
      demote: {
        async strike() {
          await send('REPLICAOF', '127.0.0.1', '1')
          await pause(setting.random, 200, 3000)
          await send('REPLICAOF', 'NO', 'ONE')
        },
      },
    },
    async calm() {
      server.resume()
      await calmServers(servers)
      await send('REPLICAOF', 'NO', 'ONE')
    },
    hang: () => server.pause(),
    entries: (key) => admin.client.xrange(key, '-', '+'),
    async stop() {
      admin.close()
      await proxy.stop()
      await server.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

function processFaults(server: RedisServer, folder: string, { random }: Setting): Readonly<Record<string, Fault>> {
  const data = join(folder, 'appendonlydir')
  const saved = join(folder, 'saved')
  let hasSnapshot = false
  const exclusive = true
  return {
    stop: {
      exclusive,
      async strike() {
        server.pause()
        await pause(random, 1000, 8000)
        server.resume()
      },
    },
    restart: {
      exclusive,
      async strike() {
        await server.kill()
        await pause(random, 0, 1500)
        await server.up()
      },
    },
    restartEmpty: {
      exclusive,
      async strike() {
        await server.kill()
        await rm(data, { recursive: true, force: true })
        await pause(random, 0, 500)
        await server.up()
      },
    },
    snapshot: {
      exclusive,
      async strike() {
        await rm(saved, { recursive: true, force: true })
        await cp(data, saved, { recursive: true })
        hasSnapshot = true
      },
    },
    restore: {
      exclusive,
      async strike() {
        if (!hasSnapshot) return
        await server.kill()
        await rm(data, { recursive: true, force: true })
        await cp(saved, data, { recursive: true })
        await pause(random, 0, 300)
        await server.up()
      },
    },
  }
}
