/** The servers of a contestant in `drops`, on fixed ports: killed, ended, and started again. */
import { rmSync } from 'node:fs'
import { HISTORY } from './drop-server.mjs'
import { NGINX, prepareNchan } from './nchan.mjs'
import { accepting, end, freePort, LOAD_CORE, message, run, SERVER_CORE, start } from './processes.mjs'

/** Two servers, Redis, publisher and clients share all cores: nothing is measured in CPU time. */
export const ANY_CORE = `${SERVER_CORE},${LOAD_CORE}`

/** Folders of nginx. Removed at the end, also if the bench fails. */
const folders = []
process.once('exit', () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/**
 * Starts servers.
 * @param script a server of Node; `undefined`: nginx with nchan
 * @param redis its URL, or `undefined`
 */
export async function deploy({ script, redis, processes }) {
  const servers = []
  for (let i = 0; i < processes; i++) servers.push(await startServer(script, redis))
  return {
    ports: servers.map(({ port }) => port),
    /** Kills the first server, and starts it again. */
    crash: () => servers[0].restart('SIGKILL'),
    /** Ends each server and starts it again, one after the other. */
    async redeploy() {
      for (const server of servers) await server.restart('SIGTERM')
    },
    stop: () => Promise.all(servers.map((server) => server.stop())),
  }
}

async function startServer(script, redis) {
  const port = await freePort()
  const way = script === undefined ? nginxOn(port, redis) : nodeOn(port, script, redis)
  let child = await way.start()
  return {
    port,
    async restart(signal) {
      await end(child, signal)
      child = await way.start()
    },
    stop: () => end(child, 'SIGKILL'),
  }
}

function nodeOn(port, script, redis) {
  return {
    async start() {
      const child = start(script, ANY_CORE, { port, redis })
      await message(child, 'listening')
      return child
    },
  }
}

/** At SIGTERM nchan 1.3.6 frees memory twice and prints an error, after its connections are closed. */
function nginxOn(port, redis) {
  const { folder, args } = prepareNchan({ port, redis, buffer: HISTORY })
  folders.push(folder)
  return {
    async start() {
      const child = run(NGINX, args)
      await accepting(port)
      return child
    },
  }
}
