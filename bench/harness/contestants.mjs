/** How to run the servers that differ from the default: a script on its core, with `load/count.mjs` on the other. */
import { existsSync } from 'node:fs'
import { NCHAN_MODULE, NGINX } from './nchan.mjs'
import { LOAD_CORE, SERVER_CORE } from './processes.mjs'

/** `files`: without them the contestant is left out. */
const DIFFERENT = {
  '@fastify/sse': { server: 'servers/fastify-sse.mjs' },
  // Runs nginx on the server's core. The script itself only publishes, which must not count as work of nginx.
  nchan: { core: LOAD_CORE, hasHeap: false, files: [NGINX, NCHAN_MODULE] },
  'kit, keepRequest': { server: 'servers/kit.mjs' },
  'socket.io': { load: 'load/count-websocket.mjs' },
}

/** @returns `{ server, core, load, hasHeap }`; `hasHeap`: the child's JavaScript heap is the server's */
export function wayOf(name) {
  const usual = { server: `servers/${name}.mjs`, core: SERVER_CORE, load: 'load/count.mjs', hasHeap: true }
  return { ...usual, ...DIFFERENT[name] }
}

/**
 * Returns the contestants to run, in their order: the requested ones, without those that are not installed.
 * @param only names, or `undefined` for all
 */
export function chosen(names, only = names) {
  const unknown = only.filter((name) => !names.includes(name))
  if (unknown.length > 0)
    throw new Error(`Unknown contestants: ${unknown.join(', ')}. The contestants are: ${names.join('; ')}`)
  return names.filter((name) => {
    const missing = (DIFFERENT[name]?.files ?? []).filter((file) => !existsSync(file))
    if (only.includes(name) && missing.length > 0)
      console.error(`${name} is skipped: ${missing.join(', ')} is not installed`)
    return only.includes(name) && missing.length === 0
  })
}
