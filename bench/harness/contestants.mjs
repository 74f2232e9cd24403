/** How each contestant's server is run, where that differs from a script on its core with `load/count.mjs` on the other. */
import { existsSync } from 'node:fs'
import { LOAD_CORE, SERVER_CORE } from './processes.mjs'

export const NGINX = '/usr/sbin/nginx'
export const NCHAN_MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so'

/** `files`: without them the contestant is left out. */
const DIFFERENT = {
  '@fastify/sse': { server: 'servers/fastify-sse.mjs' },
  // Runs nginx on the server's core; itself it only publishes, which must not count as nginx's work.
  nchan: { core: LOAD_CORE, hasHeap: false, files: [NGINX, NCHAN_MODULE] },
  'socket.io': { load: 'load/count-websocket.mjs' },
}

/** @returns `{ server, core, load, hasHeap }`; `hasHeap`: the child's JavaScript heap is the server's */
export function wayOf(name) {
  const usual = { server: `servers/${name}.mjs`, core: SERVER_CORE, load: 'load/count.mjs', hasHeap: true }
  return { ...usual, ...DIFFERENT[name] }
}

/**
 * The contestants to run, in their order: those asked for, without those that are not installed.
 * @param only names, or `undefined` for all
 */
export function chosen(names, only = names) {
  const unknown = only.filter((name) => !names.includes(name))
  if (unknown.length > 0)
    throw new Error(`No contestant is called ${unknown.join(', ')}; there are: ${names.join('; ')}`)
  return names.filter((name) => {
    const missing = (DIFFERENT[name]?.files ?? []).filter((file) => !existsSync(file))
    if (only.includes(name) && missing.length > 0)
      console.error(`${name} is left out: there is no ${missing.join(', ')}`)
    return only.includes(name) && missing.length === 0
  })
}
