/** Build step: writes the JSON Schema of the configuration file beside this module. */
import { writeFileSync } from 'node:fs';
import { jsonSchema } from './schema.js';

writeFileSync(
  new URL('./vpc-conn.schema.json', import.meta.url),
  `${JSON.stringify(jsonSchema(), null, 2)}\n`,
);
