import { execFile } from 'node:child_process'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { apply, type Mutant } from './mutators.js'
import type { Workspace } from './workspace.js'

/**
 * Finds the mutants that the compiler rejects. All are compiled in one run: each is a file of its own beside the
 * original. An unchanged copy shows which messages only mean that its classes are not those of the original.
 * @returns the mutants without type errors
 */
export async function withoutTypeErrors(workspace: Workspace, mutants: readonly Mutant[]): Promise<Mutant[]> {
  const copies = new Map<string, Mutant>()
  const written: string[] = []
  const add = async (path: string, source: string): Promise<void> => {
    written.push(path)
    await writeFile(join(workspace.folder, path), source)
  }
  for (const file of new Set(mutants.map((mutant) => mutant.file))) {
    await add(copyPath(file, 'original'), await workspace.read(file))
  }
  for (const [index, mutant] of mutants.entries()) {
    const path = copyPath(mutant.file, String(index))
    copies.set(path, mutant)
    await add(path, apply(await workspace.read(mutant.file), mutant))
  }
  const messages = await compile(workspace)
  await Promise.all(written.map((path) => rm(join(workspace.folder, path))))
  const allowed = new Map([...copies.values()].map(({ file }) => [file, messages.get(copyPath(file, 'original'))]))
  return [...copies].flatMap(([path, mutant]) => {
    const known = allowed.get(mutant.file) ?? []
    return (messages.get(path) ?? []).every((message) => known.includes(message)) ? [mutant] : []
  })
}

function copyPath(file: string, name: string): string {
  return file.replace(/\.ts$/, `.mutant-${name}.ts`)
}

/** The messages of the compiler by file. */
function compile(workspace: Workspace): Promise<Map<string, string[]>> {
  return new Promise((resolve, reject) => {
    const args = ['node_modules/typescript/bin/tsc', '--noEmit', '--pretty', 'false', '-p', '.']
    execFile(process.execPath, args, { cwd: workspace.folder, maxBuffer: 100_000_000 }, (error, stdout, stderr) => {
      if (error !== null && stdout === '') return reject(new Error(`tsc failed: ${stderr}`, { cause: error }))
      const messages = new Map<string, string[]>()
      for (const line of stdout.split('\n')) {
        const [, path, message] = /^(\S+?)\(\d+,\d+\): error (.*)$/.exec(line) ?? []
        if (path === undefined || message === undefined) continue
        messages.set(path, [...(messages.get(path) ?? []), message.replaceAll(/\.mutant-\w+/g, '')])
      }
      resolve(messages)
    })
  })
}
